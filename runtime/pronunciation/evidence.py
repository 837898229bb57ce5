"""What a grade is told by: figures of each phone, each word and the whole of a checked sentence."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..faults import PronunciationFault, short
from .judgement import Phone, Sentence
from .phone_columns import FLOOR

_MOST_S = 0.5
"""A phone that is longer than this is as long as this: what is longer is a pause."""
_LEAST_S = 0.1
_OWN = 7
"""Figures that a phone has of its own; `_own` says which."""
_OF_SENTENCE = 2 * _OWN + 9


@dataclass(frozen=True)
class Evidence:
    """Of one sentence; rows in the text's order."""

    phones: np.ndarray
    """float64 (phones asked for, `phone_width`)."""
    words: np.ndarray
    """float64 (words, `WORD_WIDTH`)."""
    sentence: np.ndarray
    """float64 (`SENTENCE_WIDTH`,)."""


WORD_WIDTH = 2 * _OWN + 2 + _OF_SENTENCE
SENTENCE_WIDTH = _OF_SENTENCE


def phone_width(num_names: int) -> int:
    """Columns of `Evidence.phones`, for as many names of phones."""
    return 4 * _OWN + 1 + _OF_SENTENCE + num_names


def evidence(sentence: Sentence, names: Sequence[str]) -> Evidence:
    """Put in figures what people grade by: each phone, those around it, and how the rest is read.

    A phone of a weak model says little by itself; that its speaker reads haltingly, and which phone
    it is, say more. Sounds that were put in are left out.

    Args:
        sentence: as `check` judges it.
        names: phones that may be asked for; their order is that of the last columns.

    Raises:
        PronunciationFault: a phone that `names` lacks.
    """
    asked = [
        (number, phone)
        for number, word in enumerate(sentence.words)
        for phone in word.phones
        if phone.phone is not None
    ]
    columns = {name: column for column, name in enumerate(names)}
    for _, phone in asked:
        if phone.phone not in columns:
            raise PronunciationFault(
                f"the phone {short(phone.phone)} has no grade; grades are of {' '.join(names)}"
            )
    of_words = np.array([number for number, _ in asked])
    own = np.array([_own(phone) for _, phone in asked])
    in_words = [own[of_words == number] for number in range(len(sentence.words))]
    means = np.array([rows.mean(axis=0) for rows in in_words])
    fits = _shrunk([FLOOR if word.fit is None else word.fit for word in sentence.words])
    whole = _of_sentence(own, fits, [phone for _, phone in asked], sentence)
    named = np.zeros((len(asked), len(names)))
    named[np.arange(len(asked)), [columns[str(phone.phone)] for _, phone in asked]] = 1.0
    none = np.zeros((1, _OWN))
    phones = [
        own,
        np.concatenate([none, own[:-1]]),
        np.concatenate([own[1:], none]),
        means[of_words],
        fits[of_words, None],
        np.tile(whole, (len(asked), 1)),
        named,
    ]
    words = [
        means,
        np.array([rows.min(axis=0) for rows in in_words]),
        fits[:, None],
        np.log([[len(rows)] for rows in in_words]),
        np.tile(whole, (len(in_words), 1)),
    ]
    return Evidence(np.concatenate(phones, axis=1), np.concatenate(words, axis=1), whole)


def _own(phone: Phone) -> list[float]:
    scores = [
        FLOOR if score is None else score
        for score in (phone.gop, phone.log_odds, phone.gop_as_read)
    ]
    statuses = [float(phone.status == kind) for kind in ("correct", "substituted", "deleted")]
    return [*_shrunk(scores), *statuses, min(phone.end_s - phone.start_s, _MOST_S)]


def _of_sentence(
    own: np.ndarray, fits: np.ndarray, asked: Sequence[Phone], sentence: Sentence
) -> np.ndarray:
    """Means and spreads of its phones, its words' fits, and how fast and haltingly it is read."""
    spoken_s = max(asked[-1].end_s - asked[0].start_s, _LEAST_S)
    gaps_s = [max(0.0, after.start_s - before.end_s) for before, after in itertools.pairwise(asked)]
    num_inserted = sum(phone.phone is None for word in sentence.words for phone in word.phones)
    further = [
        fits.mean(),
        fits.std(),
        fits.min(),
        np.log(len(asked)),
        np.log(len(asked) / spoken_s),
        sum(gaps_s) / spoken_s,
        max(gaps_s, default=0.0),
        spoken_s / max(sentence.duration_s, spoken_s),
        num_inserted / len(asked),
    ]
    return np.concatenate([own.mean(axis=0), own.std(axis=0), further])


def _shrunk(nats: Sequence[float]) -> np.ndarray:
    """Differences near 0 count for more than those far from it."""
    values = np.asarray(nats, dtype=np.float64)
    shrunk: np.ndarray = np.sign(values) * np.log1p(np.abs(values))
    return shrunk
