"""Scorers, one file each, found by its name: how good a subnet is before anything of it is trained.

A file offers `build(setting)`, which returns a function from a subnet to a number, lower is better.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from lhotse import CutSet

from train.config import MaskConfig
from train.data.audio import PackedAudio
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.nearest import nearest

from ...distill.lighthubert import Frames
from ...subnet import Subnet
from ...supernet import Supernet
from .. import SearchError

Scorer = Callable[[Subnet], float]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What a supernet was distilled towards, as its recipe says."""

    mask: MaskConfig
    """Frames hidden from the student."""
    top_layers: int
    """Teacher layers averaged into the target, from the last back."""
    normalize_targets: bool
    """Zero mean and unit variance over time for each layer."""
    frames: Frames
    """Which frames the loss counts."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a scorer may look at."""

    supernet: Supernet
    teacher: Wav2Vec2Encoder | None
    """What the supernet was distilled from; None: it is not at hand."""
    targets: Targets
    cuts: CutSet
    """The corpus, all partitions."""
    packed: PackedAudio
    """Its audio."""
    num_clips: int
    """Most held-out clips that a subnet is scored on."""
    min_seconds: float
    """Shorter clips are left out."""
    seed: int
    """Of the choice of clips and of masks."""


def scorer_names() -> tuple[str, ...]:
    """Names of the scorers, which are those of the files here; imports none of them."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in names if not name.startswith("_")))


def build_scorer(name: str, setting: Setting) -> Scorer:
    """Prepare a scorer; what all subnets share is computed once, here or at its first use.

    Raises:
        SearchError: there is none of that name, the nearest is named; or it lacks what it needs.
    """
    if name not in scorer_names():
        raise SearchError(f"there is no scorer {name!r}: {nearest(name, scorer_names())}")
    scorer: Scorer = import_module(f".{name}", __name__).build(setting)
    return scorer
