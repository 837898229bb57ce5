"""A handful of the user's own recordings of a keyword."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.data.cuts import SAMPLE_RATE, hashed_share, label_of
from train.data.spoken import energy_span, spoken_text
from train.errors import DataError

Waveform = NDArray[np.float32]

_MARGIN_SAMPLES = SAMPLE_RATE // 10
_WORD_S = (0.15, 3.0)
_LEAST_PEAK = 1e-3
_HELD_OUT_OF = 4
"""Every fourth take is left for the test, where there are as many."""


@dataclass(frozen=True, eq=False)
class Take:
    """The keyword, said once, and 0.1 s around it."""

    name: str
    waveform: Waveform
    """float32 (samples,) at 16 kHz with a peak of 1."""
    span: tuple[int, int]
    """Where in it the word is."""


@dataclass(frozen=True, eq=False)
class Takes:
    """What is learned from, and what is not."""

    train: tuple[Take, ...] = ()
    test: tuple[Take, ...] = ()


def read_takes(folder: Path, text: str) -> list[Take]:
    """Read recordings that hold the keyword once each and no other speech.

    Args:
        folder: in any layout that training reads. Where recordings have labels, those of the
            keyword are taken; where none has, all are.
        text: the keyword.

    Raises:
        DataError: no such folder, no recording of the keyword, or one in which no word stands out.
    """
    cuts = list(read_corpus(folder))
    labelled = [cut for cut in cuts if label_of(cut)]
    if labelled:
        cuts = [cut for cut in labelled if spoken_text(label_of(cut)) == spoken_text(text)]
        if not cuts:
            there = ", ".join(sorted({label_of(cut) for cut in labelled})[:8])
            raise DataError(
                f"{folder} has no recording labelled {text!r}, only {there}; label some so, or "
                "give a plain folder of takes"
            )
    from lhotse import CutSet

    packed = PackedAudio.of(CutSet.from_cuts(cuts), progress=False)
    return [_take(str(cut.id), packed.waveform(cut.id), folder) for cut in cuts]


def held_out(takes: list[Take]) -> Takes:
    """Leave every fourth for the test, by the hash of its name; of three or fewer none."""
    order = sorted(takes, key=lambda take: hashed_share(take.name))
    test = order[: len(order) // _HELD_OUT_OF]
    return Takes(tuple(order[len(test) :]), tuple(test))


def _take(name: str, waveform: Waveform, folder: Path) -> Take:
    peak = float(np.abs(waveform).max())
    start, end = energy_span(waveform)
    seconds = (end - start) / SAMPLE_RATE
    if peak < _LEAST_PEAK or not _WORD_S[0] <= seconds <= _WORD_S[1]:
        what = "nothing is heard" if peak < _LEAST_PEAK else f"{seconds:.2f} s stand out"
        raise DataError(
            f"{folder / name}: {what} where a keyword of {_WORD_S[0]:g} to {_WORD_S[1]:g} s is "
            "expected; record it once, near the microphone, with a pause on either side"
        )
    begin = max(0, start - _MARGIN_SAMPLES)
    cut = waveform[begin : end + _MARGIN_SAMPLES] / np.float32(peak)
    return Take(name, cut, (start - begin, end - begin))
