"""How far scores agree with those of experts, with intervals over speakers.

A speaker's phones share an accent, and those of a sentence its recording: an interval that takes
each for a draw of its own, such as Fisher's of a correlation, is too narrow. So whole speakers are
drawn again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import CompressError

CONFIDENCE = 0.95
"""Of every interval here."""
WRONG_BELOW = 0.5
"""A phone is wrong where its score of 0 to 2 is lower, the mean of the experts' as the one told."""

_Sums = NDArray[np.float64]
"""(…, 9): what the measures are made of, added up."""


@dataclass(frozen=True)
class Estimate:
    """A measure and the bounds of its interval; None where they are not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of scores in [0, 2] with those of experts."""

    scores: int
    speakers: int
    correlation: Estimate
    """Pearson's; None where one side is constant."""
    squared_error: Estimate
    """Mean."""
    f1_of_wrong: Estimate | None
    """None where wrong was not asked for; its value None where nothing is or is told to be."""

    def to_dict(self) -> dict[str, Any]:
        """By name, for JSON."""
        return asdict(self)


def agreement(
    told: Sequence[float],
    experts: Sequence[float],
    speakers: Sequence[Hashable],
    *,
    wrong_below: float | None = None,
    told_below: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Hold scores to those of experts.

    Args:
        told: (scores,) in [0, 2].
        experts: (scores,) in [0, 2], of the same things.
        speakers: (scores,) whose they are. With one alone there are no intervals.
        wrong_below: what experts call wrong, in [0, 2]; None: do not ask.
        told_below: what a told score calls wrong; None: as experts do.
        resamples: draws of as many speakers as there are, for percentile intervals.
        seed: of these draws.

    Raises:
        CompressError: no scores, not as many on each side, or one that is not in [0, 2].
    """
    first, second = _checked("told", told), _checked("experts", experts)
    if not len(first) == len(second) == len(speakers) or not len(first):
        raise CompressError(
            f"{len(first)} scores, {len(second)} of experts and {len(speakers)} speakers of them "
            "cannot be compared; give as many of each, and one at least"
        )
    number = {speaker: row for row, speaker in enumerate(dict.fromkeys(speakers))}
    sums = np.zeros((len(number), 9))
    np.add.at(
        sums,
        [number[speaker] for speaker in speakers],
        _summands(first, second, wrong_below, wrong_below if told_below is None else told_below),
    )

    def estimate(measure: Callable[[_Sums], NDArray[np.float64]]) -> Estimate:
        return _estimate(measure, sums, resamples, seed)

    return Agreement(
        scores=len(first),
        speakers=len(number),
        correlation=estimate(_correlation),
        squared_error=estimate(lambda total: total[..., 6] / total[..., 0]),
        f1_of_wrong=None if wrong_below is None else estimate(_f1),
    )


def _checked(name: str, scores: Sequence[float]) -> NDArray[np.float64]:
    found = np.asarray(scores, dtype=np.float64)
    for place in np.flatnonzero(~((found >= 0.0) & (found <= 2.0)))[:1]:
        raise CompressError(f"{name}[{place}] is {found[place]:g}; scores lie in [0, 2]")
    return found


def _summands(
    told: NDArray[np.float64],
    experts: NDArray[np.float64],
    wrong_below: float | None,
    told_below: float | None,
) -> _Sums:
    """(scores, 9): one, both, their squares and product, the error's square, found and told wrong.

    Around 1, the middle of the scale, so that squares lose no digits.
    """
    x, y = told - 1.0, experts - 1.0
    wrong, found = (
        (np.zeros(len(x), bool), np.zeros(len(x), bool))
        if wrong_below is None or told_below is None
        else (experts < wrong_below, told < told_below)
    )
    parts = (np.ones(len(x)), x, y, x * x, y * y, x * y, (x - y) ** 2)
    return np.stack([*parts, wrong & found, 1.0 * wrong + found], axis=-1)


def _correlation(total: _Sums) -> NDArray[np.float64]:
    count, x, y, xx, yy, xy = (total[..., place] for place in range(6))
    spread = np.sqrt(np.maximum(xx - x * x / count, 0.0) * np.maximum(yy - y * y / count, 0.0))
    # What rounding leaves of a constant side is no spread.
    return _quotient(xy - x * y / count, np.where(spread > 1e-12 * count, spread, 0.0))


def _f1(total: _Sums) -> NDArray[np.float64]:
    return _quotient(2.0 * total[..., 7], total[..., 8])


def _quotient(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Not a number where the whole is 0."""
    return np.divide(part, whole, out=np.full_like(part, math.nan), where=whole != 0.0)


def _estimate(
    measure: Callable[[_Sums], NDArray[np.float64]], sums: _Sums, resamples: int, seed: int
) -> Estimate:
    from scipy.stats import DegenerateDataWarning, bootstrap

    value = _defined(float(measure(sums.sum(axis=0)[None])[0]))
    if value is None or len(sums) < 2:
        return Estimate(value, None, None)
    with warnings.catch_warnings():
        # Where the measure is not defined for some of the draws, neither is its interval.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        interval = bootstrap(
            (np.arange(len(sums)),),
            lambda rows, axis: measure(np.take(sums, rows, axis=0).sum(axis=-2)),
            vectorized=True,
            n_resamples=resamples,
            batch=100,
            confidence_level=CONFIDENCE,
            method="percentile",
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return Estimate(value, _defined(float(interval.low)), _defined(float(interval.high)))


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
