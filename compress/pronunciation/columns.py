"""Canonical, perceived and recognized phones of an utterance, laid beside each other.

What was said is aligned to what should have been said first, and what a recognizer heard to both
of them afterwards: so how many phones were said wrong does not depend on who looks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .. import CompressError

Pair = tuple[str | None, str | None]
"""A canonical phone and what is perceived in its place; None is a gap, in one of them at most."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Column:
    """A place of an utterance; None is a gap, in two of the three at most."""

    canonical: str | None
    perceived: str | None
    recognized: str | None


def paired(canonical: Sequence[str], perceived: Sequence[str]) -> list[Pair]:
    """Align what was said to what should have been, by the fewest edits.

    Where several alignments have as few, phones are put in each other's place from the end on.
    """
    return _aligned(
        canonical,
        perceived,
        place=lambda phone, said: int(phone != said),
        skip=lambda phone: 1,
        extra=1,
    )


def columns(pairs: Sequence[Pair], recognized: Sequence[str]) -> list[Column]:
    """Align what was heard to an utterance whose pairs are known.

    The edits to the canonical phones and those to the perceived ones are the fewest together: the
    sum-of-pairs cost of multiple alignment. Canonical "K K" of "bookcase", said and heard as one
    "K", is so one deletion that is found, and not one that is missed beside another that never was.
    Whoever hears exactly the canonical or exactly the perceived phones of `paired` gets these in
    every column.

    Args:
        pairs: by `paired`, or as annotators told them.
        recognized: phones, no pauses among them.

    Raises:
        CompressError: a pair of two gaps.
    """
    for number, pair in enumerate(pairs):
        if pair == (None, None):
            raise CompressError(
                f"pair {number} has neither a canonical nor a perceived phone; leave it out"
            )
    aligned = _aligned(
        pairs,
        recognized,
        place=lambda pair, heard: sum(phone != heard for phone in pair),
        skip=lambda pair: sum(phone is not None for phone in pair),
        extra=2,
    )
    return [Column(*(pair or (None, None)), heard) for pair, heard in aligned]


def _aligned(
    first: Sequence[_Item],
    second: Sequence[str],
    *,
    place: Callable[[_Item, str], int],
    skip: Callable[[_Item], int],
    extra: int,
) -> list[tuple[_Item | None, str | None]]:
    """The alignment of least cost, by dynamic programming.

    Args:
        first: m items.
        second: n phones.
        place: cost of two in one place.
        skip: cost of an item of `first` beside a gap.
        extra: cost of a phone of `second` beside a gap.

    Returns:
        pairs in order. At equal cost, seen from the end, two in one place come before an item
        beside a gap, and that before a phone beside a gap.
    """

    def steps(row: int, column: int) -> list[tuple[int, int, int]]:
        """What the ways into a cell cost, and how many of each sequence they take."""
        ways = []
        if row and column:
            cost = costs[row - 1][column - 1] + place(first[row - 1], second[column - 1])
            ways.append((cost, 1, 1))
        if row:
            ways.append((costs[row - 1][column] + skip(first[row - 1]), 1, 0))
        if column:
            ways.append((costs[row][column - 1] + extra, 0, 1))
        return ways

    costs = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for row in range(len(first) + 1):
        for column in range(len(second) + 1):
            costs[row][column] = min((way[0] for way in steps(row, column)), default=0)
    row, column = len(first), len(second)
    found: list[tuple[_Item | None, str | None]] = []
    while row or column:
        _, down, right = min(steps(row, column), key=lambda way: way[0])  # the first of the least
        found.append((first[row - 1] if down else None, second[column - 1] if right else None))
        row, column = row - down, column - right
    return found[::-1]
