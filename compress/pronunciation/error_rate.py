"""Phone error rate: what was recognized against what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from train.data.arpabet import PAUSE


@dataclass(frozen=True, kw_only=True)
class PhoneErrors:
    """Edits over any number of utterances; they can be added."""

    substitutions: int = 0
    deletions: int = 0
    """Phones said and not recognized."""
    insertions: int = 0
    """Phones recognized and not said."""
    phones: int = 0
    """Phones said."""

    def __add__(self, other: PhoneErrors) -> PhoneErrors:
        return PhoneErrors(
            substitutions=self.substitutions + other.substitutions,
            deletions=self.deletions + other.deletions,
            insertions=self.insertions + other.insertions,
            phones=self.phones + other.phones,
        )

    @property
    def rate(self) -> float | None:
        """Edits over the phones said, above 1 where there are more; None where none was said."""
        if not self.phones:
            return None
        return (self.substitutions + self.deletions + self.insertions) / self.phones


def phone_errors(said: Sequence[str], recognized: Sequence[str]) -> PhoneErrors:
    """The fewest edits from what was said to what was recognized; pauses are left out.

    `said` is what annotators perceived: against what should have been said, a recognizer that
    repeats every mistake of the speaker would look bad.
    """
    wanted = [phone for phone in said if phone != PAUSE]
    heard = [phone for phone in recognized if phone != PAUSE]
    kinds = [edit.tag for edit in Levenshtein.editops(wanted, heard)]
    return PhoneErrors(
        substitutions=kinds.count("replace"),
        deletions=kinds.count("delete"),
        insertions=kinds.count("insert"),
        phones=len(wanted),
    )
