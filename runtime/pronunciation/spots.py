"""Where to judge each phone of a text: where it was heard, or where it should have been."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .alignment import Place, align, decode, fewest_frames
from .laying import lay


@dataclass(frozen=True)
class Spot:
    """A phone that was asked for, or heard without, and what lies around it."""

    asked: int | None
    """Column of what was asked for."""
    is_heard: bool
    """Whether a sound was heard here, be it another."""
    place: Place | None
    """None where the gap has no frame for a phone that was not heard."""
    before: Place | None = None
    after: Place | None = None


def find_spots(log_probs: np.ndarray, asked: Sequence[int], reach: int) -> list[Spot]:
    """Lay a text's phones on those heard, and look for the others in the gaps between.

    Args:
        log_probs: (frames, 1 + phones), in [FLOOR, 0], column `NOTHING` first.
        asked: columns.
        reach: frames of a sound beside a gap that may be another's after all.

    Returns:
        All phones asked for and all heard, in time's order.
    """
    heard = decode(log_probs)
    around = [None, *heard, None]
    spots: list[Spot] = []
    missed: list[int] = []
    for one, other in lay(log_probs, asked, heard):
        if other is not None:
            spots += _looked_for(log_probs, missed, around[other], heard[other], reach)
            missed = []
            column = None if one is None else asked[one]
            spots.append(Spot(column, True, heard[other], around[other], around[other + 2]))
        elif one is not None:
            missed.append(asked[one])
    return spots + _looked_for(log_probs, missed, around[-2], None, reach)


def _looked_for(
    log_probs: np.ndarray,
    missed: list[int],
    before: Place | None,
    after: Place | None,
    reach: int,
) -> list[Spot]:
    """Places of phones that were not heard, between two that were or at an end."""
    if not missed:
        return []
    first = 0 if before is None else max(before.first, before.last - reach)
    last = len(log_probs) - 1 if after is None else min(after.last, after.first + reach)
    begin = [] if before is None else [before.column]
    end = [] if after is None else [after.column]
    columns = [*begin, *missed, *end]
    if fewest_frames(columns) > last + 1 - first:
        return [Spot(column, False, None) for column in missed]
    places: list[Place | None] = [
        Place(place.column, place.first + first, place.last + first)
        for place in align(log_probs[first : last + 1], columns)
    ]
    around = [*([] if begin else [None]), *places, *([] if end else [None])]
    return [
        Spot(column, False, around[number], around[number - 1], around[number + 1])
        for number, column in enumerate(missed, start=1)
    ]
