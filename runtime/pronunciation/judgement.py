"""What a checked sentence is told as: its words, and each phone of theirs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["correct", "doubtful", "substituted", "deleted", "inserted"]
"""Doubtful is what a grader holds for wrong, and nothing else was likelier."""


@dataclass(frozen=True)
class Phone:
    """A phone that was asked for, or one that was said beside those."""

    phone: str | None
    """What was asked for; None of an inserted one."""
    status: Status
    heard: str | None
    """What was said in its place; None of a deleted one."""
    start_s: float
    """From the recording's beginning. A deleted one has its share of the gap where it belongs."""
    end_s: float
    gop: float | None
    """Goodness of pronunciation in nats, at most 0; None of one that was never said, and of an
    inserted one."""
    log_odds: float
    """Of what was asked for against its best rival, in nats; under 0 where the rival is likelier.
    Of an inserted one, that of nothing against it. Told of deleted ones too."""
    gop_as_read: float | None
    """Goodness where forced alignment puts the phone, the text around it held for said. It decides
    nothing, and grades deleted ones too: what there is to go by for a score that is learned from
    people's. None of an inserted one, and where the text has more phones than there are frames."""
    score: float | None = None
    """As experts would grade it, in [0, 2]; None without a grader, of an inserted one and of one
    that was never said."""


@dataclass(frozen=True)
class Word:
    """A word, and the phones said for it, inserted ones among them, in time's order."""

    text: str
    phones: tuple[Phone, ...]
    start_s: float
    end_s: float
    gop: float | None
    """Mean of its phones'; None where none was said."""
    completeness: float
    """Share of its phones that were said, right or wrong, in [0, 1]; 0 of a missing word."""
    fit: float | None
    """Of the whole word against all else that its frames may hold, in nats a phone, at most 0: the
    number that tells best whether the word was said at all. None where the text has more phones
    than the recording has frames."""
    score: float | None = None
    """As experts would grade it, in [0, 2]; None without a grader."""


@dataclass(frozen=True)
class Sentence:
    """All words, in the text's order."""

    words: tuple[Word, ...]
    duration_s: float
    """Of the recording."""
    gop: float | None
    """Mean of its words'; None where nothing of them was said."""
    completeness: float
    """Share of all its phones that were said, in [0, 1]."""
    fit: float | None
    """Mean of its words'."""
    score: float | None = None
    """As experts would grade it, in [0, 2]; None without a grader."""
    fluency: float | None = None
    """How fluently it was read, likewise."""

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and texts, as JSON has them, under the fields' names."""
        plain: dict[str, Any] = _with_lists(asdict(self))
        return plain


def word_of(text: str, phones: Sequence[Phone], fit: float | None) -> Word:
    """Sum a word up.

    Args:
        text: the word.
        phones: in time's order, one that was asked for among them.
        fit: as `fits` tells it.
    """
    return Word(
        text=text,
        phones=tuple(phones),
        start_s=phones[0].start_s,
        end_s=phones[-1].end_s,
        gop=_mean([phone.gop for phone in phones]),
        completeness=completeness(phones),
        fit=fit,
    )


def sentence_of(words: Sequence[Word], duration_s: float) -> Sentence:
    """Sum a sentence up; it has a word at least."""
    return Sentence(
        words=tuple(words),
        duration_s=duration_s,
        gop=_mean([word.gop for word in words]),
        completeness=completeness([phone for word in words for phone in word.phones]),
        fit=_mean([word.fit for word in words]),
    )


def completeness(phones: Sequence[Phone]) -> float:
    """Share of the phones asked for, of which there is one, that were said, right or wrong."""
    asked = [phone for phone in phones if phone.phone is not None]
    return sum(phone.heard is not None for phone in asked) / len(asked)


def _mean(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return sum(told) / len(told) if told else None


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_lists(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [_with_lists(part) for part in value]
    return value
