"""Which indices of one tensor axis a subnet keeps, as slices to concatenate in order."""

from collections.abc import Iterable

Slices = tuple[slice, ...]

WHOLE: Slices = (slice(None),)
"""The axis is kept as it is: nothing to cut or to copy."""


def prefix(kept: int, size: int) -> Slices:
    """The first `kept` of an axis of `size`; `WHOLE` when that is all of it."""
    return merge([(0, kept)], size)


def merge(ranges: Iterable[tuple[int, int]], size: int) -> Slices:
    """Join neighbours among ascending [start, stop) ranges and leave out the empty ones.

    Args:
        ranges: ascending, not overlapping, within [0, size].
        size: length of the uncut axis; a range that covers it gives `WHOLE`.
    """
    joined: list[tuple[int, int]] = []
    for start, stop in ranges:
        if start == stop:
            continue
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    if joined == [(0, size)]:
        return WHOLE
    return tuple(slice(start, stop) for start, stop in joined)
