"""Real audio for 8 bits: clips to learn ranges from, and others to compare on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import CutSet, MonoCut
from numpy.typing import NDArray

from export.gate import Evidence
from train.data.audio import PackedAudio
from train.data.augment import fit_length
from train.data.corpus import read_corpus, usable
from train.data.cuts import label_of, sorted_cuts
from train.data.selection import partition_of

MAX_CALIBRATION_CLIPS = 128
"""A range is a least and a largest value: more clips move it little and cost a run each."""
MAX_COMPARED_CLIPS = 4096
"""Enough to see half a point of accuracy; a few seconds of a small model's time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Audio:
    """Clips that were chosen and not yet decoded."""

    calibration: CutSet
    """Of the train partition."""
    compared: CutSet
    """Of the valid partition; without one, further clips of the train partition."""
    labels: tuple[str, ...] | None
    """The model's, in its order, where the compared clips are labelled."""
    window_samples: int

    def evidence(self) -> Evidence:
        """Decode them.

        Raises:
            DataError: a recording cannot be decoded.
        """
        wanted = None
        if self.labels is not None:
            numbers = [self.labels.index(label_of(cut)) for cut in self.compared]
            wanted = np.array(numbers, dtype=np.int64)
        return Evidence(
            calibration=self._windows(self.calibration),
            windows=self._windows(self.compared),
            wanted=wanted,
        )

    def _windows(self, cuts: CutSet) -> NDArray[np.float32]:
        """Each clip centred in a window, as the model was scored: (clips, window_samples)."""
        packed = PackedAudio.of(cuts, progress=True)
        return np.stack([fit_length(packed.waveform(cut.id), self.window_samples) for cut in cuts])


def choose(
    data: Path, labels: Sequence[str], *, window_samples: int, min_seconds: float, seed: int
) -> Audio:
    """Choose clips of a corpus; the same seed and corpus give the same ones.

    Ranges are learned from the train partition alone, so that accuracy on the valid one stays a
    test. Of labelled clips, those of other words than the model's are left out there.

    Args:
        data: a corpus with a train partition; any layout that training reads.
        labels: the model's, in its order.
        window_samples: what the model looks at.
        min_seconds: shorter clips teach no range.
        seed: 0 or more.

    Raises:
        DataError: no such corpus, or no audio of use in its train partition.
    """
    cuts = read_corpus(data)
    rng = np.random.default_rng(seed)
    train = drawn(usable(cuts, partition="train", min_seconds=min_seconds), rng)
    valid = list(partition_of(cuts, "valid"))
    labelled = [cut for cut in valid if label_of(cut) in labels]
    train, valid = divided(train, valid)
    return Audio(
        calibration=sorted_cuts(train[:MAX_CALIBRATION_CLIPS]),
        compared=sorted_cuts(drawn(labelled or valid, rng)[:MAX_COMPARED_CLIPS]),
        labels=tuple(labels) if labelled else None,
        window_samples=window_samples,
    )


def divided(train: list[MonoCut], valid: list[MonoCut]) -> tuple[list[MonoCut], list[MonoCut]]:
    """Clips for the ranges and clips to compare on, of one partition each where there are two."""
    if valid:
        return train, valid
    num_compared = min(MAX_COMPARED_CLIPS, len(train) // 2)  # half at least is kept for the ranges
    return train[num_compared:], train[:num_compared] or train


def drawn(cuts: Iterable[MonoCut], rng: np.random.Generator) -> list[MonoCut]:
    """All of them in a random order."""
    cuts = list(cuts)
    return [cuts[number] for number in rng.permutation(len(cuts))]
