"""Detection error tradeoff: misses over false alarms per hour, from traces of one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.manifest import Decision

from .matching import Word, match
from .sweep import sweep
from .trace import Trace

_GRID_LOGITS = np.linspace(-3.0, 12.0, 46)


def even_thresholds() -> NDArray[np.float64]:
    """Thresholds at even distances in logits, from 0.05 to 0.999994, and 1: ascending."""
    return np.concatenate([1.0 / (1.0 + np.exp(-_GRID_LOGITS)), np.ones(1)])


def between_peaks(traces: Sequence[Trace], keyword: int, *, num_peaks: int) -> NDArray[np.float64]:
    """Thresholds that tell a keyword's strongest false alarms from one another.

    Its alarms vanish one by one as the threshold passes the peaks of its score. In the middle
    between two of them, and between the highest and 1, a last bit that another machine computes
    otherwise changes nothing.

    Args:
        traces: of audio without keywords.
        keyword: its column.
        num_peaks: highest peaks to look above.

    Returns:
        (thresholds,) ascending, in (0, 1]; without any peak, 1 alone.
    """
    peaks = [_peaks(trace.scores, keyword) for trace in traces]
    highest = np.unique(np.concatenate([np.zeros(0), *peaks]))[::-1][:num_peaks]
    above = np.concatenate([np.ones(1), highest])
    thresholds: NDArray[np.float64] = np.unique(
        np.concatenate([np.ones(1), (above[:-1] + above[1:]) / 2.0])
    )
    return thresholds


def _peaks(scores: NDArray[np.float64], keyword: int) -> NDArray[np.float64]:
    """A keyword's score where it leads and neither neighbour is higher, 0 left out."""
    own = np.concatenate([[0.0], scores[:, keyword], [0.0]])
    now = own[1:-1]
    leads = scores.argmax(axis=1) == keyword if len(scores) else np.zeros(0, dtype=bool)
    top: NDArray[np.float64] = now[leads & (now >= own[:-2]) & (now >= own[2:]) & (now > 0.0)]
    return top


@dataclass(frozen=True, eq=False)
class Alarms:
    """False alarms of audio without keywords, at each choice of thresholds."""

    counts: NDArray[np.int64]
    """(choices, keywords)."""
    hours: float
    """Of audio heard; silence of flushes is not counted."""


def count_alarms(
    traces: Sequence[Trace],
    thresholds: NDArray[np.float64],
    decision: Decision,
    *,
    sample_rate: int,
) -> Alarms:
    """Every event of audio that holds no keyword is a false alarm.

    Args:
        traces: of the audio.
        thresholds: (choices, keywords) in (0, 1].
        decision: the bundle's.
        sample_rate: of the traces' samples.
    """
    counts = np.zeros(thresholds.shape, dtype=np.int64)
    for trace in traces:
        events = sweep(trace, thresholds, decision)
        np.add.at(counts, (events.choice, events.keyword), 1)
    hours = sum(trace.num_samples for trace in traces) / sample_rate / 3600.0
    return Alarms(counts, hours)


@dataclass(frozen=True, eq=False)
class Hits:
    """What became of the words that were said, at each choice of thresholds."""

    misses: NDArray[np.int64]
    """(choices, keywords)."""
    words: NDArray[np.int64]
    """(keywords,): how many there were."""
    extras: NDArray[np.int64]
    """(choices, keywords): events in these streams that hit no word."""
    lags_samples: tuple[NDArray[np.int64], ...]
    """For each keyword, (hits,) of the last choice: from a word's end to its event; before the end
    it is negative."""


def count_hits(
    streams: Sequence[tuple[Trace, Sequence[Word]]],
    thresholds: NDArray[np.float64],
    decision: Decision,
    *,
    tolerance_samples: int,
) -> Hits:
    """Match the events of streams with known words.

    Args:
        streams: traces and the words in them.
        thresholds: (choices, keywords) in (0, 1]; the last choice is the one that lags are told of.
        decision: the bundle's.
        tolerance_samples: as `match` takes it.
    """
    num_choices, num_keywords = thresholds.shape
    misses = np.zeros(thresholds.shape, dtype=np.int64)
    extras = np.zeros(thresholds.shape, dtype=np.int64)
    words = np.zeros(num_keywords, dtype=np.int64)
    lags: list[list[int]] = [[] for _ in range(num_keywords)]
    for trace, said in streams:
        np.add.at(words, [word.keyword for word in said], 1)
        events = sweep(trace, thresholds, decision)
        for choice in range(num_choices):
            matched = match(said, events.at(choice), tolerance_samples=tolerance_samples)
            for word, fired in zip(said, matched.fired_samples, strict=True):
                misses[choice, word.keyword] += fired is None
                if fired is not None and choice == num_choices - 1:
                    lags[word.keyword].append(fired - word.end_samples)
            for keyword, _ in matched.false_alarms:
                extras[choice, keyword] += 1
    return Hits(misses, words, extras, tuple(np.array(each, dtype=np.int64) for each in lags))


def choice_within(counts: NDArray[np.int64], allowed: int) -> int | None:
    """The lowest threshold from which on no higher one gives more alarms than allowed.

    Counts need not fall as thresholds rise: a long stretch over a low threshold is one alarm, and
    may be two over a higher one. So it is not enough that this threshold itself gives few.

    Args:
        counts: (choices,) of alarms, thresholds ascending.
        allowed: 0 or more.

    Returns:
        its number; None where even the highest gives more.
    """
    within = counts <= allowed
    if not within[-1]:
        return None
    exceeding = np.flatnonzero(~within)
    return int(exceeding[-1]) + 1 if len(exceeding) else 0


def alarms_allowed(rate_per_hour: float, hours: float) -> int:
    """Whole alarms that a rate makes in some hours; below 1 the hours say nothing of the rate."""
    # A hair more, so that 0.1 an hour in 30 hours is 3 whatever the last bit says.
    return int(rate_per_hour * hours * (1.0 + 1e-9))
