"""Choose thresholds that keep a rate of false alarms, one for each keyword."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.manifest import Decision

from .. import CompressError
from .det import between_peaks, choice_within, count_alarms
from .trace import Trace


def choose_thresholds(
    traces: Sequence[Trace], decision: Decision, *, allowed: int, least: float, sample_rate: int
) -> NDArray[np.float64]:
    """The lowest thresholds at which audio without keywords gives so many alarms in all.

    Every keyword has an equal share of the alarms, whole ones; what is left over goes one each to
    the keywords whose thresholds are highest without it, as they miss the most. A threshold lies in
    the middle between the weakest alarm that it lets through and the strongest that it holds back.

    Keywords meet in one decision, so that an alarm may come up where another's refractory time
    covered it at lower thresholds: thresholds are raised until the counts of all together, at the
    thresholds that are given, fit the shares.

    Args:
        traces: of the audio, one or more.
        decision: the bundle's; its own thresholds are not looked at.
        allowed: alarms in all of the audio, 0 or more.
        least: lowest threshold to give, however few alarms there are, in (0, 1].
        sample_rate: of the traces' samples.

    Returns:
        (keywords,) in (0, 1].

    Raises:
        CompressError: a keyword gives more alarms than its share at a threshold of 1.
    """
    keywords = traces[0].keywords
    share, left_over = divmod(allowed, len(keywords))
    ladders = [
        _ladder(between_peaks(traces, keyword, num_peaks=2 * share + 16), least)
        for keyword in range(len(keywords))
    ]

    def counts(rows: NDArray[np.float64]) -> NDArray[np.int64]:
        return count_alarms(traces, rows, decision, sample_rate=sample_rate).counts

    steps = np.zeros((len(keywords), 2), dtype=np.int64)
    for keyword, ladder in enumerate(ladders):
        alone = counts(np.repeat(ladder[:, None], len(keywords), axis=1))[:, keyword]
        for more in range(2):
            lowest = choice_within(alone, share + more)
            steps[keyword, more] = len(ladder) - 1 if lowest is None else lowest
    without = [ladder[at] for ladder, at in zip(ladders, steps[:, 0], strict=True)]
    favoured = np.argsort(-np.array(without), kind="stable")[:left_over]
    may_give = np.full(len(keywords), share)
    may_give[favoured] += 1
    step = np.array([steps[k, may_give[k] - share] for k in range(len(keywords))])
    while True:
        chosen = np.array([ladder[at] for ladder, at in zip(ladders, step, strict=True)])
        over = counts(chosen[None])[0] - may_give
        worst = int(over.argmax())
        if over[worst] <= 0:
            return chosen
        if step[worst] == len(ladders[worst]) - 1:
            raise CompressError(
                f"{keywords[worst]!r} gives {over[worst] + may_give[worst]} false alarms even at a "
                f"threshold of 1, and may give {may_give[worst]}: its scores are at their most for "
                "other sounds too. Train it on more of them, or allow more alarms"
            )
        step[worst] += 1


def _ladder(thresholds: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Ascending from `least` on."""
    return np.unique(np.concatenate([[least], thresholds[thresholds > least]]))
