"""Which phone that was heard stands for which that was asked for."""

from collections.abc import Sequence

import numpy as np

from .alignment import Place
from .phone_columns import FLOOR

_LEAST, _MOST = 0.5, 1.5
"""Cost of a phone in place of another, the likelier it was there the less."""
_MISSING, _INSERTED, _OUTSIDE = 1.25, 1.0, 0.5
"""Cost of a phone too few, of one too many, and of one before or after the whole text: what else
was said in a long recording must not draw a text's phones apart. A phone in place of another is
always cheaper than one too few and one too many."""
_TOOK, _SKIPPED_ASKED, _SKIPPED_HEARD = range(3)


def lay(
    log_probs: np.ndarray, asked: Sequence[int], heard: Sequence[Place]
) -> list[tuple[int | None, int | None]]:
    """Align the phones asked for with those heard, at the least cost.

    Args:
        log_probs: (frames, 1 + phones), in [FLOOR, 0].
        asked: columns.
        heard: places, in time's order.

    Returns:
        Pairs of an index into `asked` and one into `heard`, in order, each once; None for the
        heard one where nothing was, and for the asked one where nothing was asked for. Where both
        orders cost the same, what was asked for comes first.

    Source: R. Wagner and M. Fischer, "The string-to-string correction problem", 1974; costs by the
    posteriors are ours: "S T" heard as "D" misses the S.
    """
    moves = _moves(_costs(log_probs, heard), asked, len(heard))
    pairs: list[tuple[int | None, int | None]] = []
    one, other = len(asked), len(heard)
    while one or other:
        move = moves[one, other]
        if move == _TOOK:
            one, other = one - 1, other - 1
            pairs.append((one, other))
        elif move == _SKIPPED_ASKED:
            one -= 1
            pairs.append((one, None))
        else:
            other -= 1
            pairs.append((None, other))
    return pairs[::-1]


def _costs(log_probs: np.ndarray, heard: Sequence[Place]) -> np.ndarray:
    """(1 + phones, heard): of each phone in each place."""
    costs = np.empty((log_probs.shape[1], len(heard)))
    for number, place in enumerate(heard):
        frames = log_probs[place.first : place.last + 1]
        unlikely = (frames[:, place.column].max() - frames.max(axis=0)) / -FLOOR
        costs[:, number] = _LEAST + (_MOST - _LEAST) * unlikely.clip(0, 1)
        costs[place.column, number] = 0.0
    return costs


def _moves(costs: np.ndarray, asked: Sequence[int], num_heard: int) -> np.ndarray:
    """uint8 (asked + 1, heard + 1): the last move of the cheapest way to each pair of counts."""
    moves = np.empty((len(asked) + 1, num_heard + 1), dtype=np.uint8)
    moves[0] = _SKIPPED_HEARD
    places = np.arange(num_heard + 1, dtype=np.float64)
    cheapest = places * _OUTSIDE
    for number, column in enumerate(asked, start=1):
        without = cheapest + _MISSING
        taken = np.append(np.inf, cheapest[:-1] + costs[column])
        reached = np.minimum(without, taken)
        # Each place skipped after these costs as much more: a running minimum against that slope.
        skipped = places * (_INSERTED if number < len(asked) else _OUTSIDE)
        cheapest = np.minimum.accumulate(reached - skipped) + skipped
        moves[number] = np.where(taken <= without, _TOOK, _SKIPPED_ASKED)
        moves[number, cheapest < reached - 1e-9] = _SKIPPED_HEARD
    return moves
