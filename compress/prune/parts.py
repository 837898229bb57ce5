"""The parts of an encoder that pruning narrows, and the widths each may take. Without torch."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from train import RecipeError
from train.models.wav2vec2_config import Wav2Vec2Config

from .recipe import KINDS, Kind, PruneRecipe, UnitLimits


@dataclass(frozen=True)
class Part:
    """Units of one kind that are ranked among themselves, and go one by one."""

    kind: Kind
    layers: tuple[int, ...]
    """Where they are: one layer, or every layer whose heads ALiBi ties."""
    widths: tuple[int, ...]
    """What it may have, from all its units down to the fewest."""
    wanted: int
    """The width that the recipe's ratio leads to."""

    @property
    def num_units(self) -> int:
        """Before pruning."""
        return self.widths[0]


def parts_of(config: Wav2Vec2Config, recipe: PruneRecipe) -> tuple[Part, ...]:
    """Every part that the recipe may narrow, as wide as it is or whole by its limits.

    Raises:
        RecipeError: the recipe names a layer that the encoder does not have.
    """
    parts = []
    for kind in KINDS:
        limits = recipe.limits(kind)
        if limits is None:
            continue
        widths = widths_of(config, kind)
        unknown = [layer for layer in limits.whole_layers if not 0 <= layer < len(widths)]
        if unknown:
            raise RecipeError(
                f"{kind}.whole_layers names layer {unknown[0]}: the model has layers 0 to "
                f"{len(widths) - 1}"
            )
        # One learned scale a head serves all layers, so a head goes everywhere or nowhere.
        tied = kind == "heads" and config.alibi
        layers = tuple(range(len(widths)))
        for group in (layers,) if tied else [(layer,) for layer in layers]:
            whole = any(layer in limits.whole_layers for layer in group)
            parts.append(_part(kind, group, widths[group[0]], limits, whole))
    return tuple(parts)


def widths_of(config: Wav2Vec2Config, kind: Kind) -> tuple[int, ...]:
    """Units of each layer."""
    if kind == "conv_channels":
        return tuple(conv.channels for conv in config.conv_layers)
    return config.num_heads if kind == "heads" else config.ffn_dim


def resized(config: Wav2Vec2Config, parts: Sequence[Part], widths: Sequence[int]) -> Wav2Vec2Config:
    """The config of an encoder whose parts have these widths."""
    by_kind = {kind: list(widths_of(config, kind)) for kind in KINDS}
    for part, width in zip(parts, widths, strict=True):
        for layer in part.layers:
            by_kind[part.kind][layer] = width
    convs = zip(config.conv_layers, by_kind["conv_channels"], strict=True)
    return dataclasses.replace(
        config,
        conv_layers=tuple(dataclasses.replace(conv, channels=width) for conv, width in convs),
        num_heads=tuple(by_kind["heads"]),
        ffn_dim=tuple(by_kind["ffn"]),
    )


def _part(kind: Kind, layers: tuple[int, ...], full: int, limits: UnitLimits, whole: bool) -> Part:
    fewest = max(limits.least, full - _share(full, limits.largest_ratio))
    step = limits.round_to
    widths: tuple[int, ...] = (full,)
    if not whole:
        below = range((full - 1) // step * step, 0, -step)
        widths += tuple(width for width in below if width >= fewest)
    asked = full - _share(full, limits.ratio)
    return Part(kind, layers, widths, min(width for width in widths if width >= asked))


def _share(full: int, ratio: float) -> int:
    """Most units that are no more than `ratio` of all; 0.7 of 10 are 7, whatever floats say."""
    return int(ratio * full + 1e-9)
