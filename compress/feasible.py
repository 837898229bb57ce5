"""Which subnets fit a parameter target: exact counts and exact sampling, no trial and error.

A layer costs parameters by its own heads and width alone, so the number of ways in which n layers
add up to a sum follows from that of n - 1 layers: dynamic programming over sums, for each width.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np

from . import BudgetError
from .cost.params import fixed_params, layer_params, params
from .spaces import Space
from .subnet import Subnet


@dataclass(frozen=True, kw_only=True)
class Feasibility:
    """What a search can reach, known before it starts."""

    space: str
    target_params: int
    """Most parameters, counted as `cost.params.params` does."""
    smallest: Subnet
    smallest_params: int
    largest: Subnet
    largest_params: int
    num_subnets: int
    """Subnets in the space."""
    num_within: int
    """Those of at most `target_params`; exact."""


def feasibility(space: Space, target_params: int) -> Feasibility:
    """Report what fits.

    Raises:
        BudgetError: nothing does; the message names the smallest subnet's parameters.
    """
    within = FeasibleSet(space, target_params)
    return Feasibility(
        space=space.name,
        target_params=target_params,
        smallest=space.smallest(),
        smallest_params=params(space, space.smallest()),
        largest=space.largest(),
        largest_params=params(space, space.largest()),
        num_subnets=space.size(),
        num_within=within.count,
    )


def count_within(space: Space, target_params: int) -> int:
    """Number of subnets of at most `target_params` parameters; 0 when the smallest has more."""
    return sum(
        _tables(space, embed_dim).count(depth, target_params - fixed_params(space, embed_dim))
        for embed_dim in space.embed_dim
        for depth in space.depth
    )


def sample_within(space: Space, target_params: int, rng: np.random.Generator) -> Subnet:
    """Draw a subnet of at most `target_params` parameters, each with the same probability.

    Raises:
        BudgetError: nothing fits.
    """
    return FeasibleSet(space, target_params).sample(rng)


class FeasibleSet:
    """The subnets that fit a target, in a fixed order that no list of them is made for.

    Raises:
        BudgetError: there is none.
    """

    def __init__(self, space: Space, target_params: int) -> None:
        self._space = space
        self._target_params = target_params
        self._count = count_within(space, target_params)
        if self._count == 0:
            smallest = params(space, space.smallest())
            raise BudgetError(
                f"no subnet of space {space.name!r} fits {target_params:,} parameters: its "
                f"smallest has {smallest:,}. Choose a smaller space (compress recipes) or raise "
                f"--target-params."
            )

    @property
    def space(self) -> Space:
        """Where the subnets are from."""
        return self._space

    @property
    def count(self) -> int:
        """Number of subnets that fit; exact."""
        return self._count

    def holds(self, subnet: Subnet) -> bool:
        """Whether a subnet of the space fits."""
        return params(self._space, subnet) <= self._target_params

    def at(self, rank: int) -> Subnet:
        """The subnet at `rank`, in [0, count); every one has exactly one rank.

        Ordered by width, depth, then layer by layer from the first.

        Raises:
            IndexError: a rank outside that range.
        """
        if not 0 <= rank < self._count:
            raise IndexError(f"rank must lie in [0, {self._count}), got {rank}")
        for embed_dim in self._space.embed_dim:
            budget = self._target_params - fixed_params(self._space, embed_dim)
            tables = _tables(self._space, embed_dim)
            for depth in self._space.depth:
                num_here = tables.count(depth, budget)
                if rank < num_here:
                    return self._subnet(embed_dim, tables.unrank(depth, budget, rank))
                rank -= num_here
        raise AssertionError("the counts of the widths and depths do not add up")

    def sample(self, rng: np.random.Generator) -> Subnet:
        """Draw one, each with the same probability."""
        return self.at(uniform_below(self._count, rng))

    def largest(self) -> Subnet:
        """The subnet with the most parameters; the last in order where several have as many."""
        best: tuple[int, int, int] | None = None
        for embed_dim in self._space.embed_dim:
            fixed = fixed_params(self._space, embed_dim)
            for depth in self._space.depth:
                total = _tables(self._space, embed_dim).largest_sum(
                    depth, self._target_params - fixed
                )
                if total is not None:
                    best = max(best or (0, 0, 0), (fixed + total, embed_dim, depth))
        assert best is not None  # the set is not empty
        total, embed_dim, depth = best
        budget = total - fixed_params(self._space, embed_dim)
        tables = _tables(self._space, embed_dim)
        return self._subnet(embed_dim, tables.heaviest(depth, budget))

    def _subnet(self, embed_dim: int, layers: list[tuple[int, int]]) -> Subnet:
        return Subnet(
            space=self._space.name,
            embed_dim=embed_dim,
            num_heads=tuple(heads for heads, _ in layers),
            ffn_dim=tuple(ffn for _, ffn in layers),
        )


def uniform_below(bound: int, rng: np.random.Generator) -> int:
    """Draw from [0, bound), exactly uniform at any size; numpy's own stops at 64 bits."""
    num_bits = (bound - 1).bit_length()
    num_bytes = (num_bits + 7) // 8
    while True:  # a draw is refused with probability below 1/2
        drawn = int.from_bytes(rng.bytes(num_bytes), "little") >> (8 * num_bytes - num_bits)
        if drawn < bound:
            return drawn


class _Tables:
    """For one width: how many ways n layers have to cost at most a budget, for each n."""

    def __init__(self, options: tuple[tuple[tuple[int, int], int], ...], most_layers: int) -> None:
        self._options = options  # ((heads, ffn), parameters) of a layer
        ways = {0: 1}
        self._sums: list[list[int]] = []  # for n layers, the reachable sums, ascending
        self._counts: list[list[int]] = []  # beside them: sequences of layers up to that sum
        for num_layers in range(most_layers + 1):
            if num_layers:
                longer: dict[int, int] = {}
                for total, count in ways.items():
                    for _, cost in options:
                        longer[total + cost] = longer.get(total + cost, 0) + count
                ways = longer
            self._sums.append(sorted(ways))
            self._counts.append(list(accumulate(ways[total] for total in self._sums[-1])))

    def count(self, num_layers: int, budget: int) -> int:
        """Sequences of `num_layers` layers that cost at most `budget`."""
        index = bisect_right(self._sums[num_layers], budget)
        return self._counts[num_layers][index - 1] if index else 0

    def largest_sum(self, num_layers: int, budget: int) -> int | None:
        """The highest cost within `budget`; None when there is none."""
        index = bisect_right(self._sums[num_layers], budget)
        return self._sums[num_layers][index - 1] if index else None

    def unrank(self, num_layers: int, budget: int, rank: int) -> list[tuple[int, int]]:
        """The sequence at `rank` among those within `budget`, as (heads, ffn) of each layer."""
        layers = []
        for num_left in reversed(range(num_layers)):
            for layer, cost in self._options:
                num_here = self.count(num_left, budget - cost)
                if rank < num_here:
                    layers.append(layer)
                    budget -= cost
                    break
                rank -= num_here
        return layers

    def heaviest(self, num_layers: int, total: int) -> list[tuple[int, int]]:
        """The last sequence in order that costs exactly `total`, the highest within a budget."""
        layers = []
        for num_left in reversed(range(num_layers)):
            for layer, cost in reversed(self._options):
                if self.largest_sum(num_left, total - cost) == total - cost:
                    layers.append(layer)
                    total -= cost
                    break
        return layers


@lru_cache(maxsize=32)
def _tables(space: Space, embed_dim: int) -> _Tables:
    head_dim = space.supernet.head_dim
    options = tuple(
        ((heads, ffn), layer_params(embed_dim, heads, ffn, head_dim))
        for heads in space.num_heads
        for ffn in space.ffn_dims(embed_dim)
    )
    return _Tables(options, space.depth[-1])
