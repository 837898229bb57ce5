"""What an evaluation counted, and the tables and curves that follow from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import CallError
from .det import Alarms, Hits, alarms_allowed, choice_within
from .intervals import binomial_interval, poisson_upper

ALL = "all"
"""Name of the row over all keywords together."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `evaluate` measures."""

    rates_per_hour: tuple[float, ...] = (0.1, 0.5, 1.0)
    """False alarms at which misses are told; as keyword's own, and of all together."""
    snrs_db: tuple[float, ...] = (10.0, 5.0, 0.0)
    in_rooms: bool = False
    tolerance_s: float = 1.0
    """An event this long after a word's end still is the word's."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.rates_per_hour or not all(
            0.0 < rate < math.inf for rate in self.rates_per_hour
        ):
            raise CallError(
                "rates of false alarms per hour must be above 0, got "
                f"{_listed(self.rates_per_hour)}"
            )
        if not all(math.isfinite(snr) for snr in self.snrs_db):
            raise CallError(f"ratios in dB must be finite, got {_listed(self.snrs_db)}")
        if not 0.0 <= self.tolerance_s <= 60.0:
            raise CallError(f"the tolerance must lie in [0, 60] s, got {self.tolerance_s:g}")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Counts at every choice of thresholds; the last choice is the bundle's own thresholds."""

    plan: Plan
    keywords: tuple[str, ...]
    thresholds: NDArray[np.float64]
    """(choices, keywords); all but the last are one threshold for every keyword, ascending."""
    alarms: Alarms
    hits: dict[str, Hits]
    """By the condition's name."""
    sample_rate: int
    about: dict[str, Any] = field(default_factory=dict)
    """What was heard, in words and numbers."""

    def alarm_rows(self) -> list[dict[str, Any]]:
        """False alarms at the bundle's own thresholds, a row for each keyword and one for all."""
        hours = self.alarms.hours
        rows = []
        for name, keyword in self._names():
            count = int(self._alarm_counts(keyword)[-1])
            own = {} if keyword is None else {"threshold": float(self.thresholds[-1, keyword])}
            rows.append(
                {
                    "keyword": name,
                    **own,
                    "false_alarms": count,
                    "hours": hours,
                    "per_hour": count / hours,
                    "per_hour_at_most": poisson_upper(count, hours),
                }
            )
        return rows

    def miss_rows(self) -> list[dict[str, Any]]:
        """Misses for each condition and keyword; None where a rate cannot be told."""
        rows = []
        for condition, hits in self.hits.items():
            for name, keyword in self._names():
                words = int(hits.words.sum() if keyword is None else hits.words[keyword])
                if not words:
                    continue
                misses = _of(hits.misses, keyword)
                low, high = binomial_interval(int(misses[-1]), words)
                lags = np.concatenate(hits.lags_samples) if keyword is None else (
                    hits.lags_samples[keyword]
                )  # fmt: skip
                row: dict[str, Any] = {"condition": condition, "keyword": name, "words": words}
                for rate in self.plan.rates_per_hour:
                    choice = self.choice_at(rate, keyword)
                    row[f"miss_ratio_at_{rate:g}_per_hour"] = (
                        None if choice is None else float(misses[choice]) / words
                    )
                rows.append(
                    row
                    | {
                        "miss_ratio": float(misses[-1]) / words,
                        "miss_ratio_from": low,
                        "miss_ratio_to": high,
                        "latency_ms_median": self._lag_ms(lags, 0.5),
                        "latency_ms_p90": self._lag_ms(lags, 0.9),
                        "extra_events": int(_of(hits.extras, keyword)[-1]),
                    }
                )
        return rows

    def choice_at(self, rate_per_hour: float, keyword: int | None) -> int | None:
        """The lowest common threshold that keeps a rate; None where the hours are too few to
        expect one alarm at it, or no threshold keeps it."""
        allowed = alarms_allowed(rate_per_hour, self.alarms.hours)
        return None if allowed < 1 else choice_within(self._alarm_counts(keyword)[:-1], allowed)

    def curve(self, condition: str, keyword: int | None = None) -> list[tuple[float, float, float]]:
        """Threshold, false alarms per hour and miss ratio of every common threshold, ascending."""
        hits = self.hits[condition]
        words = int(hits.words.sum() if keyword is None else hits.words[keyword])
        rates = self._alarm_counts(keyword)[:-1] / self.alarms.hours
        misses = _of(hits.misses, keyword)[:-1] / max(words, 1)
        return list(
            zip(self.thresholds[:-1, 0].tolist(), rates.tolist(), misses.tolist(), strict=True)
        )

    def own_point(self, condition: str) -> tuple[float, float]:
        """False alarms per hour and miss ratio of all keywords at the bundle's own thresholds."""
        hits = self.hits[condition]
        rate = float(self._alarm_counts(None)[-1]) / self.alarms.hours
        return rate, float(hits.misses[-1].sum()) / int(hits.words.sum())

    def to_dict(self) -> dict[str, Any]:
        """JSON: what was heard, both tables, and the curve of each condition over all keywords."""
        return {
            **self.about,
            "false_alarms": self.alarm_rows(),
            "misses": self.miss_rows(),
            "curves": {
                condition: [
                    {"threshold": t, "false_alarms_per_hour": rate, "miss_ratio": miss}
                    for t, rate, miss in self.curve(condition)
                ]
                for condition in self.hits
            },
        }

    def _names(self) -> list[tuple[str, int | None]]:
        each: list[tuple[str, int | None]] = [(w, k) for k, w in enumerate(self.keywords)]
        return [*each, (ALL, None)] if len(each) > 1 else each

    def _alarm_counts(self, keyword: int | None) -> NDArray[np.int64]:
        return _of(self.alarms.counts, keyword)

    def _lag_ms(self, lags: NDArray[np.int64], share: float) -> float | None:
        if not len(lags):
            return None
        return round(1000.0 * float(np.quantile(lags, share)) / self.sample_rate, 1)


def _of(counts: NDArray[np.int64], keyword: int | None) -> NDArray[np.int64]:
    """(choices,) of one keyword, or of all together."""
    column: NDArray[np.int64] = counts.sum(axis=1) if keyword is None else counts[:, keyword]
    return column


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none"
