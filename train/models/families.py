"""The families of encoders that pretraining makes, found by their configs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..config import EncoderConfig
from .keyword_transformer import (
    FAMILY,
    KeywordEncoder,
    load_keyword_encoder,
    save_keyword_encoder,
)
from .keyword_transformer_config import KeywordTransformerConfig
from .patches import PatchEncoder, load_patches, save_patches
from .patches_config import PatchesConfig
from .wav2vec2 import Wav2Vec2Encoder, load_encoder, save_encoder
from .wav2vec2_config import SIZES, Wav2Vec2Config

Encoder = Wav2Vec2Encoder | PatchEncoder | KeywordEncoder
"""Of any family."""


@dataclass(frozen=True)
class Family:
    """What training, planning and checkpoints ask of a family."""

    name: str
    """As a checkpoint's config.json has it."""
    build: Callable[[Any], Encoder]
    """An encoder with random weights of the sizes of a config."""
    save: Callable[..., None]
    """Write a checkpoint: `wav2vec2.save_encoder` and its like."""
    load: Callable[..., Encoder]
    """Read one back from its folder."""
    sizes: tuple[str, ...]
    """What two configs must have in common for one's weights to serve the other."""


_FAMILIES: dict[type, Family] = {
    Wav2Vec2Config: Family(
        "wav2vec2",
        Wav2Vec2Encoder,
        save_encoder,
        load_encoder,
        SIZES,
    ),
    PatchesConfig: Family(
        "patches",
        PatchEncoder,
        save_patches,
        load_patches,
        (
            "num_mels", "patch_frames", "patch_mels", "cls_token", "embed_dim", "num_heads",
            "ffn_dim", "head_dim",
        ),
    ),
    KeywordTransformerConfig: Family(
        FAMILY,
        KeywordEncoder,
        save_keyword_encoder,
        load_keyword_encoder,
        (
            "frontend", "window_samples", "embed_dim", "num_heads", "head_dim", "ffn_dim",
            "num_layers", "pre_norm", "project_single_head",
        ),
    ),
}  # fmt: skip


def family_of(config: EncoderConfig) -> Family:
    """The family whose encoders have configs of this kind."""
    return _FAMILIES[type(config)]
