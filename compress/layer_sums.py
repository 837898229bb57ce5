"""How many ways n layers have to cost at most so much, for one cost or several at once."""

from bisect import bisect_right
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Layer = tuple[int, int]
"""Heads and feed-forward width."""

Room = tuple[int | None, ...]
"""Most of each cost; None: no limit. The first is parameters."""

_INT64 = 2**62


class LayerSums:
    """For one width: the sums that sequences of layers reach, and how many reach each."""

    def __init__(
        self, options: tuple[tuple[Layer, tuple[int, ...]], ...], most_layers: int
    ) -> None:
        """Tabulate.

        Args:
            options: what a layer may be, each with its costs, parameters first.
            most_layers: of the deepest subnet.
        """
        self._options = options
        ways: dict[tuple[int, ...], int] = {(0,) * len(options[0][1]): 1}
        self._tables = [_Table(ways)]
        for _ in range(most_layers):
            longer: dict[tuple[int, ...], int] = {}
            for sums, count in ways.items():
                for _, costs in options:
                    reached = tuple(a + b for a, b in zip(sums, costs, strict=True))
                    longer[reached] = longer.get(reached, 0) + count
            ways = longer
            self._tables.append(_Table(ways))

    def count(self, num_layers: int, room: Room) -> int:
        """Sequences of `num_layers` layers that cost at most `room`."""
        return self._tables[num_layers].count(room)

    def most_params(self, num_layers: int, room: Room) -> int | None:
        """Most parameters of a sequence within `room`; None when there is none."""
        return self._tables[num_layers].most_params(room)

    def unrank(self, num_layers: int, room: Room, rank: int) -> list[Layer]:
        """The sequence at `rank` among those within `room`."""
        layers = []
        for num_left in reversed(range(num_layers)):
            for layer, costs in self._options:
                left = _less(room, costs)
                num_here = self.count(num_left, left)
                if rank < num_here:
                    layers.append(layer)
                    room = left
                    break
                rank -= num_here
        return layers

    def heaviest(self, num_layers: int, room: Room, params: int) -> list[Layer]:
        """The last sequence in order within `room` that has exactly `params` parameters."""
        layers = []
        room = (params, *room[1:])
        for num_left in reversed(range(num_layers)):
            for layer, costs in reversed(self._options):
                left = _less(room, costs)
                if self.most_params(num_left, left) == left[0]:
                    layers.append(layer)
                    room = left
                    break
        return layers


class _Table:
    """Sums that are reached, ascending by parameters, each with its number of sequences."""

    def __init__(self, ways: dict[tuple[int, ...], int]) -> None:
        self._sums = sorted(ways)
        counts = [ways[sums] for sums in self._sums]
        self._params = [sums[0] for sums in self._sums]
        self._upto = list(accumulate(counts))
        self._others: NDArray[np.int64] = np.array(
            [sums[1:] for sums in self._sums], dtype=np.int64
        )
        # Python's integers where 64 bits may not hold a sum of counts.
        dtype = np.int64 if self._upto[-1] < _INT64 else object
        self._counts = np.array(counts, dtype=dtype)

    def count(self, room: Room) -> int:
        """Sequences within `room`."""
        end = self._end(room)
        if end == 0 or all(limit is None for limit in room[1:]):
            return self._upto[end - 1] if end else 0
        return int(self._counts[:end][self._fits(room, end)].sum())

    def most_params(self, room: Room) -> int | None:
        """Most parameters within `room`."""
        end = self._end(room)
        fits = np.flatnonzero(self._fits(room, end))
        return self._params[fits[-1]] if len(fits) else None

    def _end(self, room: Room) -> int:
        return len(self._params) if room[0] is None else bisect_right(self._params, room[0])

    def _fits(self, room: Room, end: int) -> NDArray[np.bool_]:
        fits: NDArray[np.bool_] = np.ones(end, dtype=np.bool_)
        for column, limit in enumerate(room[1:]):
            if limit is not None:
                fits &= self._others[:end, column] <= limit
        return fits


def _less(room: Room, costs: tuple[int, ...]) -> Room:
    return tuple(
        None if limit is None else limit - cost for limit, cost in zip(room, costs, strict=True)
    )
