"""Where phones lie in a recording: CTC's best path, with the phones given or free."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..faults import PronunciationFault
from .phone_columns import NOTHING


@dataclass(frozen=True)
class Place:
    """A phone, and the frames that a path gives it."""

    column: int
    """Of the posteriors."""
    first: int
    last: int
    """Its last frame, itself included."""

    @property
    def num_frames(self) -> int:
        """How many it has, 1 or more."""
        return self.last + 1 - self.first


def decode(log_probs: np.ndarray) -> list[Place]:
    """The phones of the best path of all, one after another.

    Args:
        log_probs: (frames, 1 + phones), column `NOTHING` first.
    """
    best = log_probs.argmax(axis=1)
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    ends = np.append(starts[1:], len(best))
    return [
        Place(int(best[start]), int(start), int(end) - 1)
        for start, end in zip(starts, ends, strict=True)
        if best[start] != NOTHING
    ]


def fewest_frames(phones: Sequence[int]) -> int:
    """Frames of the shortest path through phones: a repeated one needs a blank before it."""
    return len(phones) + sum(
        phone == before for phone, before in zip(phones[1:], phones[:-1], strict=True)
    )


def align(log_probs: np.ndarray, phones: Sequence[int]) -> list[Place]:
    """The best CTC path that says given phones, in their order and no others.

    Time grows with frames times phones. Memory does not: states are kept of every n-th frame
    alone, n the root of their number, and pointers of n frames at a time, made anew from there.

    Args:
        log_probs: (frames, 1 + phones), column `NOTHING` first, finite.
        phones: columns.

    Returns:
        One place a phone; frames between places are blank.

    Raises:
        PronunciationFault: fewer frames than the shortest path has.

    Source: A. Graves et al., "Connectionist temporal classification", ICML 2006, with the maximum
    in place of the sum.
    """
    num_frames, needed = len(log_probs), fewest_frames(phones)
    if needed > num_frames:
        raise PronunciationFault(
            f"{len(phones)} phones need {needed} frames, the recording has {num_frames}: is the "
            f"text what was said in it?"
        )
    if not phones:
        return []
    paths = _Paths(np.asarray(phones), log_probs)
    block = math.isqrt(num_frames - 1) + 1
    kept = []
    for frame in range(num_frames):
        if frame % block == 0:
            kept.append(paths.saved())
        paths.step(frame)
    state = 2 * len(phones) - int(paths.phones[-1] > paths.blanks[-1])
    found = np.empty(num_frames, dtype=np.int64)
    for number in reversed(range(len(kept))):
        paths.restore(kept[number])
        frames = range(number * block, min((number + 1) * block, num_frames))
        pointers = [paths.step(frame) for frame in frames]
        for frame, came_from in zip(reversed(frames), reversed(pointers), strict=True):
            found[frame] = state
            state = came_from.back(state)
    starts = np.searchsorted(found, np.arange(1, 2 * len(phones), 2))
    ends = np.searchsorted(found, np.arange(1, 2 * len(phones), 2), side="right")
    return [
        Place(phone, int(start), int(end) - 1)
        for phone, start, end in zip(phones, starts, ends, strict=True)
    ]


class _Paths:
    """Best scores of the paths that end in each state, one frame after another."""

    def __init__(self, phones: np.ndarray, log_probs: np.ndarray) -> None:
        self._phones = phones
        self._log_probs = log_probs
        # The phone before may be left for this one without a blank: 0, else minus infinity.
        self._barred = np.where(np.diff(phones) == 0, -np.inf, 0.0)
        # Before the first frame all paths are in the first blank.
        self.blanks = np.full(len(phones) + 1, -np.inf)
        self.blanks[0] = 0.0
        self.phones = np.full(len(phones), -np.inf)
        self._before = np.full(len(phones), -np.inf)

    def step(self, frame: int) -> "_Pointers":
        """Take one frame in."""
        row = self._log_probs[frame].astype(np.float64)
        np.add(self.phones[:-1], self._barred, out=self._before[1:])
        coming = np.maximum(self.blanks[:-1], self._before)
        pointers = _Pointers(
            into_blank=self.phones > self.blanks[1:],
            into_phone=coming > self.phones,
            over_blank=self._before > self.blanks[:-1],
        )
        np.maximum(self.blanks[1:], self.phones, out=self.blanks[1:])
        self.blanks += row[NOTHING]
        np.maximum(self.phones, coming, out=self.phones)
        self.phones += row[self._phones]
        return pointers

    def saved(self) -> tuple[np.ndarray, np.ndarray]:
        """The scores, to go on from later."""
        return self.blanks.copy(), self.phones.copy()

    def restore(self, saved: tuple[np.ndarray, np.ndarray]) -> None:
        """Go on from saved scores."""
        self.blanks[:], self.phones[:] = saved


class _Pointers(NamedTuple):
    """Where the best path into each state came from, in one frame; else it stayed."""

    into_blank: np.ndarray
    """bool (phones,): into the blank after each phone, from the phone."""
    into_phone: np.ndarray
    """bool (phones,): into each phone, from before it."""
    over_blank: np.ndarray
    """bool (phones,): from the phone before it at that, rather than from the blank between."""

    def back(self, state: int) -> int:
        """The state before. Even ones are the blanks, one before each phone; odd ones phones."""
        phone = (state - 1) // 2
        if state % 2:
            return state - int(self.into_phone[phone]) * (1 + int(self.over_blank[phone]))
        return state - int(state > 0 and self.into_blank[phone])
