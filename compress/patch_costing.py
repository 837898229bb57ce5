"""What a masked autoencoding of patches takes: the part of costing.py that knows tokens."""

from typing import TYPE_CHECKING

from train.data.masking import num_kept

from .cost.macs import SAMPLE_RATE, layer_macs
from .cost.memory import FLOAT, layer_bytes
from .cost.patches import FRONT_END_NUMBERS, patch_macs

if TYPE_CHECKING:
    from train.models.patches_config import PatchesConfig
    from train.objectives.dmae import Recipe


def patch_forward_macs(recipe: "Recipe", teacher: "PatchesConfig | None") -> tuple[int, int]:
    """Multiply-accumulates of a crop's forward pass: of what learns, and of its teacher.

    The student makes the spectrogram for both; decoder and projection are among what learns.
    """
    config, decoder = recipe.encoder, recipe.decoder
    samples, patches, shown = _crop(recipe)
    tokens = shown + config.cls_token
    learning = patch_macs(config, samples, shown=shown).total
    learning += tokens * config.embed_dim * decoder.dim + patches * decoder.dim * config.patch_dim
    learning += decoder.num_layers * layer_macs(
        decoder.dim,
        decoder.num_heads,
        decoder.ffn_dim,
        decoder.dim // decoder.num_heads,
        num_frames=patches + config.cls_token,
    )
    if teacher is None:
        return learning, 0
    learning += tokens * config.embed_dim * teacher.embed_dim
    watched = patch_macs(teacher, samples, shown=shown, stop_after=recipe.stop(teacher))
    return learning, watched.projection + watched.layers


def patch_activation_bytes(recipe: "Recipe", teacher: "PatchesConfig | None", half: int) -> int:
    """What one crop keeps at the worst moment of a forward pass.

    Args:
        recipe: sizes, and how much is shown.
        teacher: of the frozen teacher, whose hidden states are there while features are compared.
        half: bytes of a number that products take.
    """
    config, decoder = recipe.encoder, recipe.decoder
    samples, patches, shown = _crop(recipe)
    tokens = shown + config.cls_token
    kept = tokens * sum(
        layer_bytes(config.embed_dim, heads * config.head_dim, ffn, half, masks=False)
        for heads, ffn in zip(config.num_heads, config.ffn_dim, strict=True)
    )
    by_patch = decoder.num_layers * layer_bytes(
        decoder.dim, decoder.dim, decoder.ffn_dim, half, masks=False
    )
    # Around the decoder: with gaps, with positions, normed; the log-mels, and those predicted.
    by_patch += (4 * FLOAT + half) * decoder.dim + (2 * FLOAT + half) * config.patch_dim
    hidden = (patches - shown) * 3 * FLOAT * config.patch_dim
    kept += (patches + config.cls_token) * by_patch + hidden
    if teacher is not None:
        kept += tokens * (recipe.stop(teacher) + 1 + 4) * FLOAT * teacher.embed_dim
    # Before, the front end has its products for a moment, and small encoders need no more again.
    return max(kept, config.num_frames(samples) * FLOAT * FRONT_END_NUMBERS)


def _crop(recipe: "Recipe") -> tuple[int, int, int]:
    """Samples of a crop, its patches, and those that are shown."""
    samples = round(recipe.batch.crop_seconds * SAMPLE_RATE)
    patches = recipe.encoder.num_patches(samples)
    return samples, patches, num_kept(patches, recipe.mask_ratio)
