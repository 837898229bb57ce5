"""What `compress prune` is told, without torch."""

from typing import Literal

from pydantic.dataclasses import dataclass

from train.config import STRICT, Seed

Kind = Literal["conv_channels", "heads", "ffn"]
"""What goes as a whole: a channel of the feature extractor, an attention head, an FFN unit."""

KINDS: tuple[Kind, ...] = ("conv_channels", "heads", "ffn")
"""In the order in which a model computes them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class UnitLimits:
    """How far layers of one kind may shrink."""

    ratio: float = 0.0
    """Share of each layer's units that goes where no total is asked for, in [0, 1)."""
    largest_ratio: float = 0.75
    """Largest share that a layer may lose, in [0, 1)."""
    least: int = 8
    """Units that a layer keeps at least; one that has fewer is left whole."""
    round_to: int = 8
    """A pruned width is a multiple of this: kernels gain nothing from odd ones."""
    whole_layers: tuple[int, ...] = ()
    """Layers, from 0, that lose nothing."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.ratio <= self.largest_ratio < 1.0:
            raise ValueError(
                "0 <= ratio <= largest_ratio < 1 must hold, got "
                f"{self.ratio} and {self.largest_ratio}"
            )
        if min(self.least, self.round_to) < 1:
            raise ValueError(
                f"least and round_to must be 1 or more, got {self.least} and {self.round_to}"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HeadLimits(UnitLimits):
    """How far layers may shrink in attention heads, which stay whole."""

    least: int = 1
    """Heads that a layer keeps at least."""
    round_to: int = 1
    """A pruned layer's heads are a multiple of this."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CalibrationConfig:
    """The recordings that `importance = "taylor"` listens to; their labels are not read."""

    num_clips: int = 64
    """Recordings of the train partition, drawn by the seed."""
    crop_seconds: float = 4.0
    """Longer recordings are cut to this, at random."""
    min_seconds: float = 0.3
    """Shorter ones are left out."""

    def __post_init__(self) -> None:
        if self.num_clips < 1 or not 0 < self.min_seconds <= self.crop_seconds:
            raise ValueError(
                "num_clips must be 1 or more and 0 < min_seconds <= crop_seconds, got "
                f"{self.num_clips}, {self.min_seconds}, {self.crop_seconds}"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PruneRecipe:
    """What goes, and by what measure. A kind without a table of limits is left whole."""

    method: Literal["structured"]
    """Whole units go, so that what is left is a dense model and no mask."""
    importance: Literal["magnitude", "taylor", "random"] = "taylor"
    """`magnitude`: norm of a unit's weights; `taylor`: how much the outputs change without it on
    recordings; `random`: the baseline that either should beat."""
    norm: Literal["l1", "l2"] = "l2"
    """Of `magnitude`."""
    target_params: int | None = None
    """Most parameters of the pruned encoder; None: as its MACs and ratios have it."""
    target_macs: int | None = None
    """Most multiply-accumulates of the pruned encoder for one second of audio."""
    conv_channels: UnitLimits | None = None
    """Channels of the feature extractor's layers."""
    heads: HeadLimits | None = None
    """Attention heads."""
    ffn: UnitLimits | None = None
    """Hidden units of feed-forward blocks."""
    calibration: CalibrationConfig = CalibrationConfig()
    """Of `taylor`."""
    seed: Seed = 0
    """Of the recordings, of `taylor`'s projections and of `random`."""

    def __post_init__(self) -> None:
        limits = [self.limits(kind) for kind in KINDS]
        if not any(limits):
            raise ValueError(f"nothing may be pruned: give one of {', '.join(KINDS)} its table")
        targets = [
            target for target in (self.target_params, self.target_macs) if target is not None
        ]
        if any(target < 1 for target in targets):
            raise ValueError(f"target_params and target_macs must be 1 or more, got {targets}")
        if not targets and not any(limit and limit.ratio for limit in limits):
            raise ValueError(
                "nothing says how much goes: set a ratio, target_params or target_macs"
            )

    def limits(self, kind: Kind) -> UnitLimits | None:
        """The limits of one kind; None: it is left whole."""
        by_kind = {"conv_channels": self.conv_channels, "heads": self.heads, "ffn": self.ffn}
        return by_kind[kind]
