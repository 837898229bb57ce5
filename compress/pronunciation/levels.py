"""Scores of phones, words and sentences, held to the experts' of speechocean762."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from train.data.scores import MOST, MOST_OF_PHONE, SentenceScores

from .. import CompressError
from .agreement import WRONG_BELOW, Agreement, Estimate, agreement

WordAspect = Literal["accuracy", "stress", "total"]
SentenceAspect = Literal["accuracy", "completeness", "fluency", "prosodic", "total"]
TO_PHONES = MOST_OF_PHONE / MOST
"""From the experts' scale of words and sentences to that of phones, as published systems do."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A sentence as a checker scores it, everything in [0, 2].

    None is no score, for what was never said; it counts as 0, which experts give for it too.
    """

    phones: Sequence[Sequence[float | None]]
    """Of each word."""
    words: Sequence[float | None]
    sentence: float | None


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Agreement on each level; wrong is asked of phones only."""

    phone: Agreement
    word: Agreement
    sentence: Agreement

    def to_dict(self) -> dict[str, Any]:
        """By name, for JSON."""
        return asdict(self)

    def rows(self) -> list[dict[str, str | int]]:
        """A level each, for people."""
        return [
            {
                "level": name,
                "scores": part.scores,
                "speakers": part.speakers,
                "correlation": told(part.correlation),
                "squared_error": told(part.squared_error),
                "f1_of_wrong": told(part.f1_of_wrong),
            }
            for name, part in (
                ("phone", self.phone),
                ("word", self.word),
                ("sentence", self.sentence),
            )
        ]


def told(estimate: Estimate | None, decimals: int = 3) -> str:
    """A measure with its interval, "0.563 [0.520, 0.601]"; a dash where there is none."""
    if estimate is None or estimate.value is None:
        return "—"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{decimals}f}"
    return (
        f"{estimate.value:.{decimals}f} [{estimate.low:.{decimals}f}, {estimate.high:.{decimals}f}]"
    )


def levels(
    sentences: Iterable[tuple[Judged, SentenceScores, Hashable]],
    *,
    word: WordAspect = "total",
    sentence: SentenceAspect = "total",
    told_below: float = WRONG_BELOW,
    resamples: int = 1000,
    seed: int = 0,
) -> Levels:
    """Hold a checker to the experts.

    Args:
        sentences: judged, the experts' scores of them, and the speaker. Phones that experts left
            without a score are left out.
        word: what experts score of words.
        sentence: and of sentences.
        told_below: a phone of a lower score is told as wrong.
        resamples: of the speakers, for the intervals.
        seed: of these draws.

    Raises:
        CompressError: other words or phones than the experts have, a score that is not in [0, 2],
            or no sentences.
    """
    phones, words, whole = _Sides(), _Sides(), _Sides()
    for judged, experts, speaker in sentences:
        _check(judged, experts)
        whole.add(judged.sentence, getattr(experts, sentence) * TO_PHONES, speaker)
        for told, scores, of_phones in zip(judged.words, experts.words, judged.phones, strict=True):
            words.add(told, getattr(scores, word) * TO_PHONES, speaker)
            for score, expert in zip(of_phones, scores.phone_scores, strict=True):
                if expert is not None:
                    phones.add(score, expert, speaker)
    return Levels(
        phone=phones.agreement(WRONG_BELOW, told_below, resamples, seed),
        word=words.agreement(None, None, resamples, seed),
        sentence=whole.agreement(None, None, resamples, seed),
    )


class _Sides:
    """Scores of one level, of both sides."""

    def __init__(self) -> None:
        self._told: list[float] = []
        self._experts: list[float] = []
        self._speakers: list[Hashable] = []

    def add(self, told: float | None, expert: float, speaker: Hashable) -> None:
        self._told.append(0.0 if told is None else told)
        self._experts.append(expert)
        self._speakers.append(speaker)

    def agreement(
        self, wrong_below: float | None, told_below: float | None, resamples: int, seed: int
    ) -> Agreement:
        return agreement(
            self._told,
            self._experts,
            self._speakers,
            wrong_below=wrong_below,
            told_below=told_below,
            resamples=resamples,
            seed=seed,
        )


def _check(judged: Judged, experts: SentenceScores) -> None:
    wanted = [len(word.phones) for word in experts.words]
    found = [len(phones) for phones in judged.phones]
    if found != wanted or len(judged.words) != len(wanted):
        raise CompressError(
            f"{experts.text!r} has words of {wanted} phones, and {len(judged.words)} words of "
            f"{found} phones are judged; judge what the experts scored"
        )
