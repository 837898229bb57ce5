"""Attention heads of a layer: the first ones, in their order, not sorted by importance."""

from train.models.wav2vec2_config import Wav2Vec2Config

from . import depth
from ._slices import Slices, prefix

AXES = ("attention",)


def kept(axis: str, full: Wav2Vec2Config, dense: Wav2Vec2Config, layer: int | None) -> Slices:
    """Keep the first `num_heads * head_dim` attention units of one layer."""
    assert layer is not None  # only layers have an attention axis
    source = depth.kept_layers(full.num_layers, dense.num_layers)[layer]
    return prefix(
        dense.num_heads[layer] * dense.head_dim,
        full.num_heads[source] * full.head_dim,
    )
