"""What else may have been said in a phone's place: each phone's best path there, and none's."""

import numpy as np

from .alignment import Place
from .phone_columns import NOTHING


def rivals(
    log_probs: np.ndarray, place: Place, before: Place | None, after: Place | None, reach: int
) -> np.ndarray:
    """Score the best path with each phone in one place, the phones around it as they are.

    The neighbours stay what they are and may give frames up or take some, up to the far end of
    their own place; all else is out of the window. A neighbour further than `reach` is out of it
    too: there is nothing between.

    Args:
        log_probs: (frames, 1 + phones), column `NOTHING` first, finite.
        place: where.
        before: the phone before it, if there is one.
        after: the phone after it.
        reach: frames around the place in which a rival may lie.

    Returns:
        float64 (1 + phones,), log-scores that compare with each other; that of `NOTHING` is the
        best path without a phone here. Minus infinity where no path fits.
    """
    if before is not None and place.first - before.last > reach:
        before = None
    if after is not None and after.first - place.last > reach:
        after = None
    first = max(0, place.first - reach)
    if before is not None:
        first = max(before.first, before.last - reach)
    last = min(len(log_probs) - 1, place.last + reach)
    if after is not None:
        last = min(after.last, after.first + reach)
    return _best_between(
        log_probs[first : last + 1].astype(np.float64),
        None if before is None else before.column,
        None if after is None else after.column,
    )


def _best_between(window: np.ndarray, before: int | None, after: int | None) -> np.ndarray:
    """Best paths that start within `before` and end within `after`, with one phone between.

    A phone's score is the maximum over its start and end of what comes before, its own frames and
    what comes after; with sums up to each frame that is a running maximum, without a loop.
    """
    # (frames + 1, 1 + phones): the sum of each column up to a frame.
    sums = np.concatenate([np.zeros((1, window.shape[1])), window.cumsum(axis=0)])
    entered_blank, entered_phone = _up_to(sums, before)
    # Backwards in time the same question is asked of what comes after.
    left_blank, left_phone = (part[::-1] for part in _up_to((sums[-1] - sums)[::-1], after))

    entered = np.repeat(np.maximum(entered_blank, entered_phone)[:, None], sums.shape[1], axis=1)
    left = np.repeat(np.maximum(left_blank, left_phone)[:, None], sums.shape[1], axis=1)
    if before is not None:
        entered[:, before] = entered_blank  # a phone said twice has a blank between
    if after is not None:
        left[:, after] = left_blank
    starting = np.maximum.accumulate(entered - sums, axis=0)
    best: np.ndarray = (starting[:-1] + (sums + left)[1:]).max(axis=0)

    without = [entered_blank + left_blank, entered_phone + left_blank, entered_blank + left_phone]
    if before is None or before != after:
        without.append(entered_phone + left_phone)
    best[NOTHING] = max(path.max() for path in without)
    return best


def _up_to(sums: np.ndarray, neighbour: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Best scores (frames + 1,) of the frames before each, ending in a blank and in `neighbour`."""
    blank = sums[:, NOTHING]
    nowhere = np.full(len(sums), -np.inf)
    if neighbour is None:
        return blank, nowhere
    phone = sums[:, neighbour].copy()
    phone[0] = -np.inf  # it has a frame at least
    in_blank = nowhere
    in_blank[1:] = blank[1:] + np.maximum.accumulate(phone - blank)[:-1]
    return in_blank, phone
