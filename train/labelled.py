"""Labelled clips that keyword models are trained on: what a recipe says of them, and they."""

from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from lhotse import CutSet
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from .config import STRICT, BatchConfig, LogConfig, OptimizerConfig, Seed
from .data.audio import PackedAudio
from .data.corpus import read_corpus, usable
from .data.cuts import SILENCE, label_of
from .data.label_share import LabelShare, labelled
from .data.rooms import Surroundings
from .data.selection import check_labels, labels_of
from .data.source import Recordings
from .models.frontend import SAMPLE_RATE
from .tasks.augmenting import AugmentConfig, ClipPool, Variation


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LabelledRecipe:
    """What every training on labelled clips is told."""

    labels: tuple[str, ...] = ()
    """Classes; clips of other words are left out. None: every label with enough clips."""
    min_clips_per_label: int = 50
    """Clips of the train partition that make a label a class of its own."""
    labelled: LabelShare = LabelShare()
    """Share of the train partition's clips that are learned from, as if no other had a label."""
    window_seconds: float = 1.0
    """What the model judges; clips are centred in it, and a causal body answers at its end."""
    streaming: Literal["sliding_window", "incremental"] = "sliding_window"
    """How an export streams the model, unless it is told otherwise: run anew on every window, or
    step by step, which a causal body alone can."""
    chunk_ms: int = 80
    """Of `incremental`: audio of a step, a multiple of the body's frames."""
    updates: int
    """Optimizer steps."""
    label_smoothing: float = 0.1
    """In [0, 1)."""
    augment: AugmentConfig = AugmentConfig()
    """How clips are varied."""
    optimizer: OptimizerConfig
    """Rates and decays."""
    batch: BatchConfig
    """Audio of an update."""
    log: LogConfig = LogConfig()
    """When to log and save."""
    seed: Seed = 0
    """Of new weights, order, augmentation and dropout."""

    def __post_init__(self) -> None:
        if self.chunk_ms < 1:
            raise ValueError(f"chunk_ms must be 1 or more, got {self.chunk_ms}")
        if self.updates < 0 or self.window_seconds <= 0:
            raise ValueError("updates must be 0 or more and window_seconds positive")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")

    @property
    def window_samples(self) -> int:
        """The window in samples."""
        return round(self.window_seconds * SAMPLE_RATE)


@plain_dataclass(frozen=True)
class Clips:
    """The clips of a recipe's labels, and their audio."""

    labels: tuple[str, ...]
    cuts: CutSet
    """Of every partition."""
    train: CutSet
    """Those that are learned from."""
    packed: PackedAudio

    @property
    def source(self) -> Recordings:
        """What training draws from."""
        return Recordings(self.train, self.packed)

    def variation(self, config: AugmentConfig, around: Surroundings) -> Variation:
        """What these clips are varied with: noises and rooms, and their own recorded silence."""
        own = recorded_silence(self.train, self.packed)
        return Variation(
            config,
            replace(around, noises=(*own, *around.noises)),
            ClipPool(self.packed, tuple(self.train.ids)),
        )


def read_clips(recipe: LabelledRecipe, data: Path) -> Clips:
    """Read and decode what a recipe learns from and is scored on.

    Args:
        recipe: says which labels and clips.
        data: a labelled corpus with partitions.

    Raises:
        DataError: it cannot be read, or lacks clips of a label.
    """
    cuts = read_corpus(data)
    train = usable(cuts, partition="train", min_seconds=recipe.batch.min_seconds)
    labels = recipe.labels or labels_of(train, min_clips=recipe.min_clips_per_label)
    check_labels(labels, train)
    packed = PackedAudio.of(cuts, progress=True)
    cuts = cuts.filter(lambda cut: cut.supervisions[0].text in labels).to_eager()
    train = usable(cuts, partition="train", min_seconds=recipe.batch.min_seconds)
    return Clips(tuple(labels), cuts, labelled(train, recipe.labelled), packed)


def recorded_silence(cuts: CutSet, packed: PackedAudio) -> list[NDArray[np.float32]]:
    """Clips labelled as silence: noises to mix others with; those of zeros are none."""
    silence = [packed.waveform(cut.id) for cut in cuts if label_of(cut) == SILENCE]
    return [noise for noise in silence if np.any(noise)]
