"""Real speech for phones in 8 bits: recordings to learn ranges from, and others to compare on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet
from numpy.typing import NDArray

from export.gate import Evidence
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus, usable
from train.data.cuts import sorted_cuts
from train.data.said import phones_said
from train.data.selection import partition_of
from train.phones_recipe import PhonesRecipe
from train.tasks.phone_step import PhoneStep
from train.tasks.phones import LABELS, TAIL_SAMPLES, error_rate, spelled

from .calibration import MAX_CALIBRATION_CLIPS, divided, drawn

_MAX_COMPARED = 256
"""Recordings of a few seconds each, of which every frame is compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpokenAudio:
    """Recordings that were chosen and not yet decoded."""

    calibration: CutSet
    """Of the train partition."""
    compared: CutSet
    """Of the valid partition; without one, further ones of the train partition."""
    said: Mapping[str, Sequence[str]]
    """The phones of each by its id."""
    chunk_samples: int
    """Of a step."""
    frame_samples: int

    @property
    def labels(self) -> tuple[str, ...]:
        """What the compared ones are known to say: they are chosen so."""
        return LABELS

    def evidence(self) -> Evidence:
        """Decode them; accuracy is 1 less the phone error rate, as a training measures it.

        Raises:
            DataError: a recording cannot be decoded.
        """
        packed = PackedAudio.of(self.calibration + self.compared, progress=True)
        heard = {cut.id: packed.waveform(cut.id) for cut in (*self.calibration, *self.compared)}
        longest = max(map(len, heard.values())) + TAIL_SAMPLES
        longest += -longest % self.chunk_samples

        def windows(cuts: CutSet) -> NDArray[np.float32]:
            """Silence after each, to the longest one's length."""
            rows = [np.pad(heard[cut.id], (0, longest - len(heard[cut.id]))) for cut in cuts]
            return np.stack(rows).astype(np.float32)

        index = {label: number for number, label in enumerate(LABELS)}
        wanted = [[index[phone] for phone in self.said[cut.id]] for cut in self.compared]
        frames = [
            -(-(len(heard[cut.id]) + TAIL_SAMPLES) // self.frame_samples) for cut in self.compared
        ]

        def accuracy(posteriors: Sequence[NDArray[np.float32]]) -> float:
            spelt = [
                spelled(torch.from_numpy(answers.reshape(-1, len(LABELS))[:count]))
                for answers, count in zip(posteriors, frames, strict=True)
            ]
            return 1.0 - error_rate(spelt, wanted)

        return Evidence(
            calibration=windows(self.calibration),
            windows=windows(self.compared),
            wanted=None,
            accuracy=accuracy,
        )


def choose_spoken(data: Path, recipe: PhonesRecipe, step: PhoneStep, *, seed: int) -> SpokenAudio:
    """Choose recordings whose phones are known; the same seed and corpus give the same ones.

    Args:
        data: a corpus with a train partition; any layout that training reads.
        recipe: of the run; recordings are as long as what it learned from.
        step: what is exported.
        seed: 0 or more.

    Raises:
        DataError: no such corpus, or no recording of use in its train partition.
    """
    cuts = read_corpus(data)
    said = phones_said(cuts)
    most_s = recipe.batch.crop_seconds
    known = cuts.filter(lambda cut: bool(said.get(cut.id)) and cut.duration <= most_s).to_eager()
    rng = np.random.default_rng(seed)
    train = drawn(usable(known, partition="train", min_seconds=recipe.batch.min_seconds), rng)
    train, valid = divided(train, drawn(partition_of(known, "valid"), rng))
    return SpokenAudio(
        calibration=sorted_cuts(train[:MAX_CALIBRATION_CLIPS]),
        compared=sorted_cuts(valid[:_MAX_COMPARED]),
        said=said,
        chunk_samples=step.chunk_samples,
        frame_samples=step.body.hop_samples,
    )
