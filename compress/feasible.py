"""Which subnets fit a budget: exact counts and exact sampling, no trial and error.

Keyword models are few enough to be listed (`listed`); encoders are not. A transformer layer of an
encoder costs what its own heads and width cost, and the rest depends on the model's width and on
its feature extractor alone. So the number of ways in which n layers add up to a sum of costs
follows from that of n - 1 layers: dynamic programming over sums, for each width.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Protocol

import numpy as np

from . import BudgetError
from .any_space import AnySpace, AnySubnet
from .budget import FLAGS, Budget, amount
from .cost import Cost
from .keyword_spaces import KeywordSpace
from .layer_sums import LayerSums
from .listed import ListedSet, listed_costs
from .spaces import Space
from .subnet import Subnet


@dataclass(frozen=True, kw_only=True)
class Feasibility:
    """What a search can reach, known before it starts."""

    space: str
    limits: dict[str, int]
    smallest: AnySubnet
    smallest_costs: dict[str, int]
    largest: AnySubnet
    largest_costs: dict[str, int]
    num_subnets: int
    """Subnets in the space."""
    num_within: int
    """Those that keep every limit; exact."""
    num_within_each: dict[str, int]
    """Those that keep one limit, whatever the others say; exact."""


def feasibility(space: AnySpace, budget: Budget) -> Feasibility:
    """Report what fits.

    Raises:
        BudgetError: nothing does; the message names the limit and the least that is possible.
    """
    within = feasible_set(space, budget)
    smallest, largest = space.smallest(), space.largest()
    return Feasibility(
        space=space.name,
        limits=budget.limits,
        smallest=smallest,
        smallest_costs=budget.cost_of(space, smallest),
        largest=largest,
        largest_costs=budget.cost_of(space, largest),
        num_subnets=space.size(),
        num_within=within.count,
        num_within_each=within_each(space, budget),
    )


def within_each(space: AnySpace, budget: Budget) -> dict[str, int]:
    """For each limit, the number of subnets that keep it."""
    return {name: count_within(space, budget.only(name)) for name in budget.limits}


def count_within(space: AnySpace, budget: Budget) -> int:
    """Number of subnets that keep the budget; 0 where none does."""
    if isinstance(space, KeywordSpace):
        return sum(budget.holds(costs) for _, costs in listed_costs(space, budget))
    return sum(group.count for group in _groups(space, budget))


def sample_within(space: Space, budget: Budget, rng: np.random.Generator) -> Subnet:
    """Draw a subnet that keeps the budget, each with the same probability.

    Raises:
        BudgetError: nothing fits.
    """
    return FeasibleSet(space, budget).sample(rng)


class Fitting(Protocol):
    """The subnets of a space that fit a budget, of either kind; one or more."""

    @property
    def space(self) -> AnySpace:
        """Where the subnets are from."""

    @property
    def budget(self) -> Budget:
        """What they keep."""

    @property
    def count(self) -> int:
        """How many there are; exact."""

    def at(self, rank: int) -> AnySubnet:
        """The one at `rank`, in [0, count); every one has exactly one rank."""

    def sample(self, rng: np.random.Generator) -> AnySubnet:
        """Draw one, each with the same probability."""

    def largest(self) -> AnySubnet:
        """The one with the most parameters; one of them where several have as many."""


def feasible_set(space: AnySpace, budget: Budget) -> Fitting:
    """The subnets of a space that fit.

    Raises:
        BudgetError: there is none; the message names the limit and the least that is possible.
        CallError: a limit that keyword models know no cost for.
    """
    if not isinstance(space, KeywordSpace):
        return FeasibleSet(space, budget)
    within = ListedSet(space, budget)
    if not within.count:
        raise BudgetError(_refusal(space, budget))
    return within


class FeasibleSet:
    """The subnets that fit a budget, in a fixed order that no list of them is made for.

    Raises:
        BudgetError: there is none.
    """

    def __init__(self, space: Space, budget: Budget) -> None:
        self._space = space
        self._budget = budget
        self._groups = _groups(space, budget)
        self._ends = list(accumulate(group.count for group in self._groups))
        if not self.count:
            raise BudgetError(_refusal(space, budget))

    @property
    def space(self) -> Space:
        """Where the subnets are from."""
        return self._space

    @property
    def budget(self) -> Budget:
        """What they keep."""
        return self._budget

    @property
    def count(self) -> int:
        """Number of subnets that fit; exact."""
        return self._ends[-1] if self._ends else 0

    def holds(self, subnet: Subnet) -> bool:
        """Whether a subnet of the space fits."""
        return self._budget.holds(self._budget.cost_of(self._space, subnet))

    def at(self, rank: int) -> Subnet:
        """The subnet at `rank`, in [0, count); every one has exactly one rank.

        Ordered by width, feature extractor, depth, then layer by layer from the first.

        Raises:
            IndexError: a rank outside that range.
        """
        if not 0 <= rank < self.count:
            raise IndexError(f"rank must lie in [0, {self.count}), got {rank}")
        index = bisect_right(self._ends, rank)
        group = self._groups[index]
        before = self._ends[index - 1] if index else 0
        return group.subnet(group.layers.unrank(group.depth, group.room, rank - before))

    def sample(self, rng: np.random.Generator) -> Subnet:
        """Draw one, each with the same probability."""
        return self.at(uniform_below(self.count, rng))

    def largest(self) -> Subnet:
        """The subnet with the most parameters; one of them where several have as many."""
        best, _, group = max(
            (
                (group.most_params, -index, group)
                for index, group in enumerate(self._groups)
                if group.count
            ),
            key=lambda found: found[:2],
        )
        params_of_layers = best - group.rest_params
        return group.subnet(group.layers.heaviest(group.depth, group.room, params_of_layers))


def uniform_below(bound: int, rng: np.random.Generator) -> int:
    """Draw from [0, bound), exactly uniform at any size; numpy's own stops at 64 bits."""
    num_bits = (bound - 1).bit_length()
    num_bytes = (num_bits + 7) // 8
    while True:  # a draw is refused with probability below 1/2
        drawn = int.from_bytes(rng.bytes(num_bytes), "little") >> (8 * num_bytes - num_bits)
        if drawn < bound:
            return drawn


@dataclass(frozen=True)
class _Group:
    """Subnets that differ in their layers alone."""

    space: Space
    embed_dim: int
    conv_channels: tuple[int, ...]
    depth: int
    layers: LayerSums
    rest_params: int
    """Parameters beside the layers."""
    room: tuple[int | None, ...]
    """What the limits leave to the layers, parameters first; None: no limit."""

    @cached_property
    def count(self) -> int:
        """How many fit."""
        return self.layers.count(self.depth, self.room)

    @property
    def most_params(self) -> int:
        """Parameters of the largest that fits; there is one."""
        most = self.layers.most_params(self.depth, self.room)
        assert most is not None
        return self.rest_params + most

    def subnet(self, layers: list[tuple[int, int]]) -> Subnet:
        """The subnet with these heads and widths of its layers."""
        return Subnet(
            space=self.space.name,
            embed_dim=self.embed_dim,
            num_heads=tuple(heads for heads, _ in layers),
            ffn_dim=tuple(ffn for _, ffn in layers),
            conv_channels=self.conv_channels,
        )


def _groups(space: Space, budget: Budget) -> list[_Group]:
    # Parameters are looked at even without a limit: they say which subnet is the largest.
    names = ["params", *(name for name in budget.limits if name != "params")]
    limits = [budget.limits.get(name) for name in names]
    costs: Mapping[str, Cost] = budget.costs
    looked_at = tuple(costs[name] for name in names)
    groups = []
    for embed_dim in space.embed_dim:
        layers = _layer_sums(space, embed_dim, looked_at)
        for conv_channels, rests in _rests(space, embed_dim, looked_at):
            room = tuple(
                None if limit is None else limit - rest
                for limit, rest in zip(limits, rests, strict=True)
            )
            groups += [
                _Group(space, embed_dim, conv_channels, depth, layers, rests[0], room)
                for depth in space.depth
            ]
    return groups


@lru_cache(maxsize=64)
def _layer_sums(space: Space, embed_dim: int, costs: tuple[Cost, ...]) -> LayerSums:
    dense = space.sized(embed_dim, next(space.extractors()))
    options = tuple(
        ((heads, ffn), tuple(cost.layer(dense, heads, ffn) for cost in costs))
        for heads in space.num_heads
        for ffn in space.ffn_dims(embed_dim)
    )
    return LayerSums(options, space.depth[-1])


@lru_cache(maxsize=64)
def _rests(
    space: Space, embed_dim: int, costs: tuple[Cost, ...]
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """For each feature extractor its channels, and what all but the layers costs with it."""
    rows = []
    for conv_channels in space.extractors():
        dense = space.sized(embed_dim, conv_channels)
        rows.append((conv_channels, tuple(cost.rest(space.supernet, dense) for cost in costs)))
    return tuple(rows)


def _refusal(space: AnySpace, budget: Budget) -> str:
    """Why nothing fits, and the way out."""
    for name, count in within_each(space, budget).items():
        if not count:
            limit = budget.limits[name]
            least = _least(space, budget, name)
            words = amount(name, limit)
            return (
                f"no subnet of space {space.name!r} fits {words}: the least is "
                f"{amount(name, least)}. Choose a smaller space (compress recipes) or raise "
                f"{FLAGS[name]}."
            )
    flags = " and ".join(FLAGS[name] for name in budget.limits)
    counts = ", ".join(
        f"{count:,} keep {FLAGS[name]}" for name, count in within_each(space, budget).items()
    )
    return (
        f"no subnet of space {space.name!r} keeps {flags} together, though each alone can be kept "
        f"({counts}). Raise one of them or choose another space (compress recipes)."
    )


def _least(space: AnySpace, budget: Budget, name: str) -> int:
    if isinstance(space, KeywordSpace):
        return min(costs[name] for _, costs in listed_costs(space, budget))
    return least_of(space, budget.costs[name])


def least_of(space: Space, cost: Cost) -> int:
    """The least that a subnet can cost; a measured latency need not grow with every size."""
    found = []
    for embed_dim in space.embed_dim:
        dense = [space.sized(embed_dim, channels) for channels in space.extractors()]
        layer = min(
            cost.layer(dense[0], heads, ffn)
            for heads in space.num_heads
            for ffn in space.ffn_dims(embed_dim)
        )
        rest = min(cost.rest(space.supernet, config) for config in dense)
        found += [rest + depth * layer for depth in space.depth]
    return min(found)
