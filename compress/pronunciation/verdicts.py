"""What a detector of mispronunciations says of each phone, counted as the literature does.

Source: the hierarchical evaluation behind the figures of arXiv:2203.15937. Its published code walks
along two alignments, each to the canonical phones, whose ties need not agree and whose insertions
need not meet; here all three sequences share their columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from train.data.arpabet import PAUSE

from .columns import Column, Pair, columns, paired


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Counts over the phones of any number of utterances; they can be added."""

    true_accepts: int = 0
    """Said as they should be, and heard so."""
    false_rejects: int = 0
    """Said as they should be and heard otherwise, or heard where nothing was to be heard."""
    false_accepts: int = 0
    """Said wrong, left out or put in, and heard as they should be."""
    correct_diagnoses: int = 0
    """Said wrong, left out or put in, and heard exactly so."""
    diagnosis_errors: int = 0
    """Said wrong, left out or put in, and heard as another error."""

    def __add__(self, other: Verdicts) -> Verdicts:
        return Verdicts(
            **{
                field.name: getattr(self, field.name) + getattr(other, field.name)
                for field in dataclasses.fields(self)
            }
        )

    @property
    def true_rejects(self) -> int:
        """Errors that were found, whatever was made of them."""
        return self.correct_diagnoses + self.diagnosis_errors

    @property
    def precision(self) -> float | None:
        """Share of rejected phones that are wrong; None where none is rejected."""
        return _share(self.true_rejects, self.true_rejects + self.false_rejects)

    @property
    def recall(self) -> float | None:
        """Share of wrong phones that are rejected; None where none is wrong."""
        return _share(self.true_rejects, self.true_rejects + self.false_accepts)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both, 0 without a true reject; None where none is wrong or rejected."""
        return _share(
            2 * self.true_rejects, 2 * self.true_rejects + self.false_rejects + self.false_accepts
        )

    @property
    def false_acceptance_rate(self) -> float | None:
        """FAR: share of wrong phones that are accepted; None where none is wrong."""
        return _share(self.false_accepts, self.false_accepts + self.true_rejects)

    @property
    def false_rejection_rate(self) -> float | None:
        """FRR: share of rejects among right phones, those heard where nothing was to be included;
        None where there are no such phones."""
        return _share(self.false_rejects, self.false_rejects + self.true_accepts)

    @property
    def diagnosis_error_rate(self) -> float | None:
        """DER: share of found errors that are taken for others; None where none is found."""
        return _share(self.diagnosis_errors, self.true_rejects)

    def to_dict(self) -> dict[str, int | float | None]:
        """Counts and rates by name, for JSON."""
        rates = (
            "true_rejects", "precision", "recall", "f1", "false_acceptance_rate",
            "false_rejection_rate", "diagnosis_error_rate",
        )  # fmt: skip
        return {**dataclasses.asdict(self), **{name: getattr(self, name) for name in rates}}


def judge(
    canonical: Sequence[str], perceived: Sequence[str], recognized: Sequence[str]
) -> Verdicts:
    """Count an utterance whose phones are not aligned yet; pauses are left out."""
    return judge_pairs(paired(_without_pauses(canonical), _without_pauses(perceived)), recognized)


def judge_pairs(pairs: Sequence[Pair], recognized: Sequence[str]) -> Verdicts:
    """Count an utterance in which annotators told what was said in each phone's place.

    Args:
        pairs: canonical and perceived phones, None for a gap.
        recognized: phones; pauses are left out.

    Raises:
        CompressError: a pair of two gaps.
    """
    verdicts = Verdicts()
    for column in columns(pairs, _without_pauses(recognized)):
        verdicts += _of(column)
    return verdicts


def _of(column: Column) -> Verdicts:
    accepted = column.recognized == column.canonical
    if column.perceived == column.canonical:
        return Verdicts(true_accepts=1) if accepted else Verdicts(false_rejects=1)
    if accepted:
        return Verdicts(false_accepts=1)
    if column.recognized == column.perceived:
        return Verdicts(correct_diagnoses=1)
    return Verdicts(diagnosis_errors=1)


def _without_pauses(phones: Sequence[str]) -> list[str]:
    return [phone for phone in phones if phone != PAUSE]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
