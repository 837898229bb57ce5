"""Published numbers of parameters, of encoders and of what pretraining adds, in no memory."""

import dataclasses

import pytest
import torch

from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Wav2Vec2Config

BASE = Wav2Vec2Config()
LAYERED = dataclasses.replace(BASE, conv_norm="layer", normalize_waveform=True)
LARGE = dataclasses.replace(BASE, embed_dim=1024, num_heads=(16,) * 24, ffn_dim=(4096,) * 24)
HUBERT_LARGE = dataclasses.replace(LARGE, conv_norm="layer", normalize_waveform=True, pre_norm=True)
STACKED = dataclasses.replace(
    LAYERED, pos_conv_kernel=19, pos_conv_depth=5, pos_conv_weight_norm=False
)
DATA2VEC2 = dataclasses.replace(STACKED, alibi=True, mask_embedding=False)


def unmasked(config: Wav2Vec2Config) -> Wav2Vec2Config:
    """As torchaudio has it: the mask embedding belongs to pretraining."""
    return dataclasses.replace(config, mask_embedding=False)


def params(config: Wav2Vec2Config) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in Wav2Vec2Encoder(config).parameters())


def linear(wide: int, out: int) -> int:
    return wide * out + out


def conv(wide: int, out: int, *, kernel: int, groups: int) -> int:
    return wide // groups * out * kernel + out


WAV2VEC2_HEADS = 640 * 128 + linear(512, 640) + linear(256, 256) + linear(768, 256)
DECODER = (
    conv(768, 384, kernel=7, groups=16) + 3 * conv(384, 384, kernel=7, groups=16) + linear(384, 768)
)


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (BASE, 94_371_712),  # transformers: HuBERT Base and wav2vec 2.0 Base
        (STACKED, 93_164_288),  # transformers: data2vec Base
        (DATA2VEC2, 93_163_532),
        (unmasked(BASE), 94_370_944),  # torchaudio from here on
        (unmasked(HUBERT_LARGE), 315_434_112),
        (unmasked(LARGE), 315_427_968),
        (unmasked(dataclasses.replace(HUBERT_LARGE, conv_bias=True)), 315_437_696),
    ],
    ids=["base", "data2vec", "data2vec2", "torchaudio base", "hubert large", "wav2vec2 large",
         "wav2vec2 lv-60"],
)  # fmt: skip
def test_an_encoder_has_the_published_number_of_parameters(config, published):
    assert params(config) == published


@pytest.mark.parametrize(
    ("config", "heads", "published"),
    [
        (BASE, WAV2VEC2_HEADS, 95_044_608),
        (BASE, linear(768, 32), 94_396_320),  # 32 letters
        (BASE, 504 * 256 + linear(768, 256), 94_697_600),  # HuBERT, fairseq's dictionary
        (BASE, 100 * 256 + linear(768, 256), 94_594_176),  # HuBERT, torchaudio's
        (STACKED, linear(768, 768), 93_754_880),
        (DATA2VEC2, DECODER, 93_783_308),
        (LAYERED, 768 * 768, 94_967_680),  # LightHuBERT with its head and the positions' gains
    ],
    ids=["wav2vec2", "ctc", "hubert", "torchaudio hubert", "data2vec", "data2vec2", "lighthubert"],
)
def test_a_model_in_pretraining_has_the_published_number_of_parameters(config, heads, published):
    assert params(config) + heads == published


def test_the_decoder_of_data2vec_2_has_the_published_number_of_parameters():
    assert DECODER == 619_776
