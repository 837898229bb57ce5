"""Decisions at many thresholds in one walk over a trace, each exactly the runtime's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.keyword import as_words, holds
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

    The rule is `runtime.keyword.KeywordDetector`'s, for all choices at once; the model is taken to
    answer every hop, as in a stream without its gate. Only answers that
    reach the lowest threshold are walked over: where none is reached, no choice keeps anything but
    its refractory time.

    Args:
        trace: of one stream.
        thresholds: (choices, keywords) in (0, 1].
        decision: gives patience and refractory time; its thresholds are not looked at.
    """
    spoken = [as_words(word) for word in trace.keywords]
    within = np.array([[holds(longer, shorter) for shorter in spoken] for longer in spoken])
    lengths = np.array([len(words) for words in spoken])
    num_choices, num_keywords = thresholds.shape
    choices = np.arange(num_choices)
    candidate = np.full(num_choices, -1)
    agreeing = np.zeros(num_choices, dtype=np.int64)
    held = np.zeros((num_choices, num_keywords), dtype=bool)
    ready_at = np.zeros(num_choices, dtype=np.int64)
    last = np.full(num_choices, -1)
    fired: list[tuple[NDArray[np.int64], NDArray[np.int64], int, NDArray[np.float64]]] = []

    reaching = np.flatnonzero((trace.scores >= thresholds.min(axis=0)).any(axis=1))
    before = -2
    for number in reaching.tolist():
        if number != before + 1:
            candidate[:] = -1
            held[:] = False
        before = number
        scores, end_samples = trace.scores[number], int(trace.end_samples[number])
        reached = scores >= thresholds
        held &= reached
        top = np.multiply(scores, reached).argmax(axis=1)
        if within.any():
            longer = reached & within[:, top].T
            top = np.where(longer.any(axis=1), (longer * lengths).argmax(axis=1), top)
        agreeing = np.where(candidate == top, agreeing + 1, 1)
        any_reached = reached[choices, top]
        candidate = np.where(any_reached, top, -1)
        fires = any_reached & (agreeing >= decision.patience) & ~held[choices, top]
        fires &= (end_samples >= ready_at) | ((last >= 0) & within[top, last])
        firing = np.flatnonzero(fires)
        if len(firing):
            held[firing, top[firing]] = True
            last[firing] = top[firing]
            ready_at[firing] = end_samples + decision.refractory_samples
            fired.append((firing, top[firing], end_samples, scores[top[firing]]))
    sizes = [len(firing) for firing, *_ in fired]
    ends = np.array([end_samples for _, _, end_samples, _ in fired], dtype=np.int64)
    return Events(
        choice=np.concatenate([np.zeros(0, np.int64), *(firing for firing, *_ in fired)]),
        keyword=np.concatenate([np.zeros(0, np.int64), *(top for _, top, _, _ in fired)]),
        fired_samples=np.repeat(ends, sizes),
        score=np.concatenate([np.zeros(0), *(scores for *_, scores in fired)]),
    )
