"""Where in its clip a word is: by alignments where the corpus has them, else by energy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .cuts import SAMPLE_RATE

if TYPE_CHECKING:
    from lhotse import MonoCut

Waveform = NDArray[np.float32]

_FRAME_SAMPLES = SAMPLE_RATE // 100
_LEAST_FRAMES = 3
"""Shorter sounds, such as a click, are no speech."""
_RISE = 0.4
"""Speech is louder than the noise floor by this share of the way to the peak, in dB."""
_LEAST_RANGE_DB = 6.0
_MOST_PAUSE_FRAMES = 25
_SILENT_POWER = 1e-9
"""Of recordings that were cut out or padded by a computer, which say nothing of a room."""
_MOST_BELOW_PEAK_DB = 35.0
_SILENT = {"", "sil", "sp", "spn", "<eps>"}


def spoken_text(label: str) -> str:
    """A label as plain words: case, hyphens and underscores make no other word of it."""
    return " ".join(re.split(r"[\W_]+", label.casefold())).strip()


def holds(text: str, words: str) -> bool:
    """Whether these words are said, one after the other, in a text; both as `spoken_text`."""
    return f" {words} " in f" {text} "


def word_span(cut: MonoCut, waveform: Waveform) -> tuple[int, int, bool]:
    """First sample of a clip's word, the one past its last, and whether alignments told them.

    Args:
        cut: of the clip; its alignments of words are asked first, those of phones second.
        waveform: float32 (samples,) at 16 kHz, its audio.
    """
    alignments = (cut.supervisions[0].alignment if cut.supervisions else None) or {}
    for kind in ("word", "phone"):
        items = [item for item in alignments.get(kind, []) if item.symbol.casefold() not in _SILENT]
        if items:
            start = min(item.start for item in items)
            end = max(item.start + item.duration for item in items)
            start, end = (
                min(max(round(time * SAMPLE_RATE), 0), len(waveform)) for time in (start, end)
            )
            if start < end:
                return start, end, True
    return *energy_span(waveform), False


def energy_span(waveform: Waveform) -> tuple[int, int]:
    """Where a clip's word is, by loudness in frames of 10 ms; all of it where nothing stands out.

    The noise floor is the quiet tenth of the frames, those of digital silence left out. Loud is
    what lies 0.4 of the way from it to the peak, in dB, or 35 dB under the peak where that is more;
    30 ms of it in a row at the least, and 6 dB over the floor. Pauses of up to 0.25 s lie within
    words; of what longer pauses divide, such as a word and a click, the word holds most energy.
    """
    whole = (0, len(waveform))
    num_frames = len(waveform) // _FRAME_SAMPLES
    if num_frames < _LEAST_FRAMES:
        return whole
    frames = waveform[: num_frames * _FRAME_SAMPLES].astype(np.float64)
    power = np.mean(np.square(frames.reshape(num_frames, -1)), axis=1)
    if not (power > _SILENT_POWER).any():
        return whole
    level_db = 10.0 * np.log10(np.maximum(power, _SILENT_POWER))
    floor_db = float(np.quantile(level_db[power > _SILENT_POWER], 0.1))
    peak_db = float(level_db.max())
    if peak_db - floor_db < _LEAST_RANGE_DB:
        return whole
    least_db = max(floor_db + _RISE * (peak_db - floor_db), peak_db - _MOST_BELOW_PEAK_DB)
    loud = np.concatenate([[False], level_db >= least_db, [False]])
    edges = np.flatnonzero(loud[1:] != loud[:-1]).reshape(-1, 2)
    edges = edges[edges[:, 1] - edges[:, 0] >= _LEAST_FRAMES]
    if not len(edges):
        return whole
    breaks = np.flatnonzero(edges[1:, 0] - edges[:-1, 1] > _MOST_PAUSE_FRAMES) + 1
    groups = [(int(group[0, 0]), int(group[-1, 1])) for group in np.split(edges, breaks)]
    start, end = max(groups, key=lambda group: float(power[slice(*group)].sum()))
    return start * _FRAME_SAMPLES, end * _FRAME_SAMPLES
