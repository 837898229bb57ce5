"""Encoders to prune: small, in double precision, with nothing left at ones or zeros."""

import dataclasses

import torch

from compress.prune.recipe import HeadLimits, PruneRecipe, UnitLimits
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Conv, StreamingConfig, Wav2Vec2Config

CONFIG = Wav2Vec2Config(
    conv_layers=(
        Conv(channels=64, kernel=4, stride=2),
        Conv(channels=12, kernel=3, stride=2),
        Conv(channels=40, kernel=2, stride=2),
    ),
    embed_dim=12,
    num_heads=(4, 3),
    ffn_dim=(16, 40),
    head_dim=3,
    pos_conv_kernel=6,
    pos_conv_groups=2,
    feature_grad_mult=0.1,
)

FAMILY = {
    "group, post-norm, weight norm": CONFIG,
    "group, post-norm, folded": dataclasses.replace(CONFIG, pos_conv_weight_norm=False),
    "layer, pre-norm, biases": dataclasses.replace(
        CONFIG, conv_norm="layer", conv_bias=True, pre_norm=True, normalize_waveform=True
    ),
    "stack of positions": dataclasses.replace(
        CONFIG, conv_norm="layer", pos_conv_depth=2, pos_conv_weight_norm=False
    ),
    "in a stream": dataclasses.replace(
        CONFIG,
        conv_norm="layer",
        normalize_waveform=True,
        streaming=StreamingConfig(chunk_frames=2, left_frames=3),
    ),
    "alibi, no mask embedding": dataclasses.replace(
        CONFIG, num_heads=(5, 5), alibi=True, mask_embedding=False
    ),
}


def encoder_of(config: Wav2Vec2Config, seed: int = 0) -> Wav2Vec2Encoder:
    """Random weights, norms and biases."""
    generator = torch.Generator().manual_seed(seed)
    encoder = Wav2Vec2Encoder(config).double().eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            weight.copy_(0.7 + 0.3 * noise.abs() if weight.ndim == 1 else 0.3 * noise)
    return encoder


def recipe_of(**changes: object) -> PruneRecipe:
    """Everything may go, one by one, up to nine tenths of a layer."""
    limits = {"least": 1, "round_to": 1, "largest_ratio": 0.9}
    asked: dict[str, object] = {
        "method": "structured",
        "conv_channels": UnitLimits(**limits, ratio=0.5),
        "heads": HeadLimits(**limits, ratio=0.5),
        "ffn": UnitLimits(**limits, ratio=0.5),
    }
    return PruneRecipe(**(asked | changes))
