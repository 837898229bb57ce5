"""Decisions at many thresholds in one walk over a trace, each exactly the runtime's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.manifest import Decision

from .trace import Trace


@dataclass(frozen=True, eq=False)
class Events:
    """Events of one stream at several choices of thresholds, in the order of time."""

    choice: NDArray[np.int64]
    """(events,): the row of thresholds at which each fired."""
    keyword: NDArray[np.int64]
    """(events,): its column."""
    fired_samples: NDArray[np.int64]
    """(events,): samples of the stream when it was known."""
    score: NDArray[np.float64]
    """(events,): the smoothed posterior."""

    def at(self, choice: int) -> list[tuple[int, int]]:
        """Keyword and time, in samples, of each event at one choice."""
        chosen = self.choice == choice
        keywords, times = self.keyword[chosen], self.fired_samples[chosen]
        return list(zip(keywords.tolist(), times.tolist(), strict=True))


def sweep(trace: Trace, thresholds: NDArray[np.float64], decision: Decision) -> Events:
    """Every event that the runtime's spotter gives at each choice of thresholds.

    The rule is `runtime.keyword.KeywordDetector`'s, for all choices at once. Only answers that
    reach the lowest threshold are walked over: where none is reached, no choice keeps anything but
    its refractory time.

    Args:
        trace: of one stream.
        thresholds: (choices, keywords) in (0, 1].
        decision: gives patience and refractory time; its thresholds are not looked at.
    """
    num_choices, num_keywords = thresholds.shape
    candidate = np.full(num_choices, -1)
    agreeing = np.zeros(num_choices, dtype=np.int64)
    held = np.zeros((num_choices, num_keywords), dtype=bool)
    ready_at = np.zeros(num_choices, dtype=np.int64)
    fired: list[tuple[NDArray[np.int64], int, int, float]] = []

    reaching = np.flatnonzero((trace.scores >= thresholds.min(axis=0)).any(axis=1))
    before = -2
    for number in reaching.tolist():
        if number != before + 1:
            candidate[:] = -1
            held[:] = False
        before = number
        scores, end_samples = trace.scores[number], int(trace.end_samples[number])
        held &= scores >= thresholds
        top = int(scores.argmax())
        reached = scores[top] >= thresholds[:, top]
        agreeing = np.where(candidate == top, agreeing + 1, 1)
        candidate = np.where(reached, top, -1)
        fires = reached & (agreeing >= decision.patience) & ~held[:, top]
        fires &= end_samples >= ready_at
        if fires.any():
            held[fires, top] = True
            ready_at[fires] = end_samples + decision.refractory_samples
            fired.append((np.flatnonzero(fires), top, end_samples, float(scores[top])))
    sizes = [len(choices) for choices, *_ in fired]
    return Events(
        choice=np.concatenate([np.zeros(0, np.int64), *(choices for choices, *_ in fired)]),
        keyword=np.repeat(np.array([top for _, top, _, _ in fired], dtype=np.int64), sizes),
        fired_samples=np.repeat(np.array([end for _, _, end, _ in fired], dtype=np.int64), sizes),
        score=np.repeat(np.array([score for *_, score in fired], dtype=np.float64), sizes),
    )
