"""Noises and rooms as somebody recorded them: a folder of long noises and of impulse responses."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .audio import PackedAudio
from .corpus import read_corpus
from .cuts import label_of
from .selection import partition_of

NOISE, ROOM = "noise", "rir"
"""Labels of the two in a manifest."""


@dataclass(frozen=True)
class Surroundings:
    """What clips are mixed with: (samples,) each, at 16 kHz."""

    noises: tuple[NDArray[np.float32], ...] = ()
    rooms: tuple[NDArray[np.float32], ...] = ()
    """Impulse responses."""


def read_surroundings(folder: Path) -> Surroundings:
    """Read the train partition of a folder whose recordings are labelled `noise` or `rir`.

    Raises:
        DataError: the folder cannot be read, or its train partition has neither.
    """
    cuts = partition_of(read_corpus(folder), "train")
    chosen = cuts.filter(lambda cut: label_of(cut) in (NOISE, ROOM)).to_eager()
    if not len(chosen):
        raise DataError(
            f"{folder} has no train recording labelled {NOISE!r} or {ROOM!r}; label some so in a "
            "manifest.csv"
        )
    packed = PackedAudio.of(chosen, progress=False)
    heard: dict[str, list[NDArray[np.float32]]] = {NOISE: [], ROOM: []}
    for cut in chosen:
        waveform = packed.waveform(cut.id)
        if np.any(waveform):
            heard[label_of(cut)].append(waveform)
    return Surroundings(tuple(heard[NOISE]), tuple(heard[ROOM]))
