"""Multiply-accumulates and memory of a Keyword Transformer; what counts is as in macs.py."""

from train.models.frontend_config import preset
from train.models.keyword_transformer_config import KeywordTransformerConfig

from .front_end import frame_macs
from .macs import Macs, layer_macs
from .memory import FLOAT, layer_bytes


def keyword_macs(config: KeywordTransformerConfig) -> Macs:
    """Count one window; the front end is counted as `extractor`, positions cost nothing."""
    frontend, frames = preset(config.frontend), config.window_frames
    by_layer = layer_macs(
        config.embed_dim,
        config.num_heads,
        config.ffn_dim,
        config.head_dim,
        num_frames=frames + 1,
    )
    if not config.projects:
        by_layer -= (frames + 1) * config.num_heads * config.head_dim * config.embed_dim
    return Macs(
        extractor=frames * frame_macs(frontend),
        projection=frames * frontend.output_dim * config.embed_dim,
        positions=0,
        layers=config.num_layers * by_layer,
    )


def keyword_activation_bytes(config: KeywordTransformerConfig, half: int, *, teacher: bool) -> int:
    """What one window keeps at the end of a forward pass; half: bytes of products' numbers."""
    frames, dim = config.window_frames, config.embed_dim
    tokens = frames + 1
    inner = config.num_heads * config.head_dim
    kept = config.num_layers * tokens * layer_bytes(dim, inner, config.ffn_dim, half, masks=False)
    # Around the layers: frames, with a class token, with positions; targets as they are made, layer
    # by layer; predictions, errors, and the first gradients.
    kept += frames * FLOAT * (preset(config.frontend).output_dim + 16 * dim)
    if teacher:
        kept += tokens * 2 * (config.num_layers + 1) * FLOAT * dim
    return kept
