"""Our encoder against transformers' HubertModel, on random weights."""

import re

import pytest
import torch
from transformers import HubertConfig, HubertModel
from transformers.modeling_outputs import BaseModelOutput

from train.models.wav2vec2 import Wav2Vec2Encoder, normalize_waveform
from train.models.wav2vec2_config import Wav2Vec2Config, paper_conv_layers

RENAMES = (
    (r"^masked_spec_embed$", "mask_embedding"),
    (r"^feature_extractor\.conv_layers\.(\d+)\.conv\.", r"feature_extractor.\1.conv."),
    (r"^feature_extractor\.conv_layers\.(\d+)\.layer_norm\.", r"feature_extractor.\1.norm."),
    (r"^feature_projection\.layer_norm\.", "feature_norm."),
    (r"^feature_projection\.projection\.", "feature_projection."),
    (r"^encoder\.pos_conv_embed\.conv\.", "pos_conv.conv."),
    (r"^encoder\.layer_norm\.", "norm."),
    (r"^encoder\.layers\.(\d+)\.layer_norm\.", r"layers.\1.attention_norm."),
    (r"^encoder\.layers\.(\d+)\.final_layer_norm\.", r"layers.\1.ffn_norm."),
    (r"^encoder\.layers\.(\d+)\.feed_forward\.intermediate_dense\.", r"layers.\1.ffn.up."),
    (r"^encoder\.layers\.(\d+)\.feed_forward\.output_dense\.", r"layers.\1.ffn.down."),
    (r"^encoder\.layers\.", "layers."),
)


def ours_from(theirs: HubertModel, config: Wav2Vec2Config) -> Wav2Vec2Encoder:
    state = {}
    for name, tensor in theirs.state_dict().items():
        for pattern, replacement in RENAMES:
            name, found = re.subn(pattern, replacement, name)
            if found:
                break
        state[name] = tensor
    encoder = Wav2Vec2Encoder(config)
    encoder.load_state_dict(state, strict=True)
    return encoder.eval()


def randomized(model: HubertModel) -> HubertModel:
    """Norms of ones and zeros would hide mistakes."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(params=[("group", False), ("layer", True), ("layer", False)], ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[HubertModel, Wav2Vec2Encoder]:
    conv_norm, pre_norm = request.param
    torch.manual_seed(0)
    theirs = HubertModel(
        HubertConfig(
            hidden_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=128,
            conv_dim=(32,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            feat_extract_norm=conv_norm,
            do_stable_layer_norm=pre_norm,
        )
    )
    config = Wav2Vec2Config(
        conv_layers=paper_conv_layers(32),
        conv_norm=conv_norm,
        embed_dim=64,
        head_dim=16,
        num_heads=(4, 4, 4),
        ffn_dim=(128, 128, 128),
        pos_conv_kernel=16,
        pos_conv_groups=4,
        pre_norm=pre_norm,
    )
    randomized(theirs)
    return theirs, ours_from(theirs, config)


def states(output: BaseModelOutput) -> tuple[torch.Tensor, ...]:
    """Every state, the last one after the final norm: transformers 5 lists it before."""
    return (*output.hidden_states[:-1], output.last_hidden_state)


def assert_states_agree(theirs: tuple[torch.Tensor, ...], ours: tuple[torch.Tensor, ...]) -> None:
    assert len(theirs) == len(ours) == 4
    for index, (expected, actual) in enumerate(zip(theirs, ours, strict=True)):
        # float32 sums in another order; the states are of order one
        assert torch.allclose(actual, expected, atol=1e-5, rtol=1e-5), index


def test_every_hidden_state_equals_transformers(
    pair: tuple[HubertModel, Wav2Vec2Encoder],
) -> None:
    theirs, ours = pair
    waveform = torch.randn(2, 16_080)
    with torch.inference_mode():
        expected = theirs(waveform, output_hidden_states=True)
        assert_states_agree(states(expected), ours(waveform).hidden_states)


def test_padded_rows_equal_transformers_with_an_attention_mask(
    pair: tuple[HubertModel, Wav2Vec2Encoder],
) -> None:
    theirs, ours = pair
    lengths = torch.tensor([16_080, 9_000])
    waveform = torch.randn(2, 16_080)
    waveform[1, 9_000:] = 0.0
    attention = (torch.arange(16_080) < lengths.unsqueeze(1)).long()
    with torch.inference_mode():
        expected = theirs(waveform, attention_mask=attention, output_hidden_states=True)
        actual = ours(waveform, lengths)
    assert actual.padding_mask is not None
    valid = ~actual.padding_mask
    assert valid.sum(1).tolist() == [50, 27]
    assert_states_agree(
        tuple(state[valid] for state in states(expected)),
        tuple(state[valid] for state in actual.hidden_states),
    )


def test_masked_frames_equal_transformers(pair: tuple[HubertModel, Wav2Vec2Encoder]) -> None:
    theirs, ours = pair
    waveform = torch.randn(1, 16_080)
    frame_mask = torch.zeros(1, 50, dtype=torch.bool)
    frame_mask[0, 5:20] = True
    with torch.inference_mode():
        expected = theirs(waveform, mask_time_indices=frame_mask, output_hidden_states=True)
        actual = ours(waveform, frame_mask=frame_mask)
    assert_states_agree(states(expected), actual.hidden_states)


def test_hubert_base_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        encoder = Wav2Vec2Encoder(Wav2Vec2Config())
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 94_371_712


@pytest.mark.parametrize(
    ("samples", "frames"),
    [(400, 1), (479, 1), (640, 1), (720, 2), (16000, 49), (16080, 50), (32000, 99),
     (250000, 781), (320000, 999), (399, 0), (0, 0)],
)  # fmt: skip
def test_frames_follow_the_conv_lengths(samples: int, frames: int) -> None:
    assert Wav2Vec2Config().num_frames(samples) == frames


def test_the_normalized_waveform_is_a_layer_norm() -> None:
    waveform = torch.randn(3, 1000) * 0.2 + 0.1
    lengths = torch.tensor([1000, 700, 400])
    for row, length in enumerate(lengths):
        waveform[row, length:] = 0.0
    normalized = normalize_waveform(waveform, lengths)
    for row, length in enumerate(lengths):
        expected = torch.nn.functional.layer_norm(waveform[row, :length], (int(length),))
        assert torch.allclose(normalized[row, :length], expected, atol=1e-5)
        assert not normalized[row, length:].any()
