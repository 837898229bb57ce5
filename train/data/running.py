"""Running sound to train on: words cut out of their clips, and hours of speech without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .audio import PackedAudio
from .augment import faded, levelled
from .corpus import read_corpus
from .cuts import SAMPLE_RATE, label_of
from .selection import partition_of
from .spoken import holds, spoken_text, word_span

if TYPE_CHECKING:
    from lhotse import CutSet

Waveform = NDArray[np.float32]

_MARGIN_SAMPLES = SAMPLE_RATE // 5
"""Of its own clip, kept on either side of a word: energy tells its edges to some tens of ms."""
_MOST_PAUSE_S = 0.6
"""Between two recordings that follow each other."""
_LEVEL = 0.05


@dataclass(frozen=True)
class Words:
    """Clips shortened to their words and a little around them."""

    packed: PackedAudio
    """Their audio, by the clips' ids."""
    spans: dict[str, tuple[int, int]]
    """Where in it the word is: its first sample and the one past its last."""

    @classmethod
    def of(cls, cuts: CutSet, packed: PackedAudio) -> Words:
        """Find the words, by alignments or by energy, of clips that hold one each."""
        places: dict[str, tuple[int, int]] = {}
        spans: dict[str, tuple[int, int]] = {}
        for cut in cuts:
            start, end, _ = word_span(cut, packed.waveform(cut.id))
            first, last = packed.spans[cut.id]
            begin = max(0, start - _MARGIN_SAMPLES)
            places[cut.id] = (first + begin, min(last, first + end + _MARGIN_SAMPLES))
            spans[cut.id] = (start - begin, end - begin)
        return cls(PackedAudio(packed.samples, places), spans)


class Speech:
    """Recordings without a keyword; every second of them is as likely to be heard as another."""

    def __init__(self, parts: Sequence[tuple[PackedAudio, Sequence[str]]]) -> None:
        """Take recordings.

        Args:
            parts: audio and the ids that are taken of it; one or more in all.
        """
        self._places = [(packed, cut_id) for packed, ids in parts for cut_id in ids]
        samples = [packed.num_samples(cut_id) for packed, cut_id in self._places]
        self._ends = np.cumsum(np.array(samples, dtype=np.int64))

    @property
    def hours(self) -> float:
        """Of all recordings."""
        return float(self._ends[-1]) / SAMPLE_RATE / 3600.0 if len(self._ends) else 0.0

    def stretch(self, num_samples: int, rng: np.random.Generator) -> Waveform:
        """(num_samples,) that begin anywhere, one recording after the other with pauses between.

        Recordings come equally loud, with a root mean square of 0.05.
        """
        heard = np.zeros(num_samples, dtype=np.float32)
        filled = 0
        while filled < num_samples:
            at = int(rng.integers(self._ends[-1]))
            number = int(np.searchsorted(self._ends, at, side="right"))
            packed, cut_id = self._places[number]
            start = at - (int(self._ends[number - 1]) if number else 0) if not filled else 0
            piece = packed.waveform(cut_id, start, num_samples - filled)
            heard[filled : filled + len(piece)] = faded(levelled(piece) * np.float32(_LEVEL))
            filled += len(piece) + int(rng.uniform(0.0, _MOST_PAUSE_S) * SAMPLE_RATE)
        return heard


def read_speech(
    folders: Sequence[Path], keywords: Sequence[str], *, min_seconds: float
) -> list[tuple[PackedAudio, tuple[str, ...]]]:
    """The train partitions of corpora, without what holds a keyword by its label or sentence.

    Raises:
        DataError: a folder cannot be read, or nothing of it is left.
    """
    parts = []
    for folder in folders:
        cuts = without_keywords(partition_of(read_corpus(folder), "train"), keywords)
        cuts = cuts.filter(lambda cut: cut.duration >= min_seconds).to_eager()
        if not len(cuts):
            raise DataError(
                f"{folder} has no train recording of {min_seconds:g} s or more without a keyword; "
                "give speech without them, such as read books"
            )
        parts.append((PackedAudio.of(cuts, progress=True), tuple(cuts.ids)))
    return parts


def without_keywords(cuts: CutSet, keywords: Sequence[str]) -> CutSet:
    """Those whose label or sentence holds none of the keywords."""
    words = [spoken_text(word) for word in keywords]
    return cuts.filter(
        lambda cut: not any(holds(spoken_text(label_of(cut)), word) for word in words)
    ).to_eager()
