"""The families of encoders that pretraining makes, found by their configs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..config import EncoderConfig
from .patches import PatchEncoder, load_patches, save_patches
from .patches_config import PatchesConfig
from .wav2vec2 import Wav2Vec2Encoder, load_encoder, save_encoder
from .wav2vec2_config import Wav2Vec2Config

Encoder = Wav2Vec2Encoder | PatchEncoder
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
        (
            "conv_layers", "conv_norm", "conv_bias", "normalize_waveform", "embed_dim", "num_heads",
            "ffn_dim", "head_dim", "pos_conv_kernel", "pos_conv_groups", "pos_conv_depth",
            "pos_conv_weight_norm", "alibi", "pre_norm",
        ),
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
}  # fmt: skip


def family_of(config: EncoderConfig) -> Family:
    """The family whose encoders have configs of this kind."""
    return _FAMILIES[type(config)]
