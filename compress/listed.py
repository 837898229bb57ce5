"""Which keyword models fit a budget: all of a space are looked at."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from . import CallError
from .budget import FLAGS, Budget
from .keyword_spaces import KeywordSpace, KeywordSubnet

Costs = dict[str, int]


class ListedSet:
    """The keyword models that fit a budget, in the space's order; maybe none.

    Raises:
        CallError: a limit that keyword models know no cost for.
    """

    def __init__(self, space: KeywordSpace, budget: Budget) -> None:
        self.space = space
        self.budget = budget
        every = listed_costs(space, budget)
        self._fitting = [(subnet, costs) for subnet, costs in every if budget.holds(costs)]

    @property
    def count(self) -> int:
        """How many fit."""
        return len(self._fitting)

    def at(self, rank: int) -> KeywordSubnet:
        """The model at `rank`.

        Raises:
            IndexError: a rank outside [0, count).
        """
        if not 0 <= rank < self.count:
            raise IndexError(f"rank must lie in [0, {self.count}), got {rank}")
        return self._fitting[rank][0]

    def sample(self, rng: np.random.Generator) -> KeywordSubnet:
        """Draw one, each with the same probability."""
        return self.at(int(rng.integers(self.count)))

    def largest(self) -> KeywordSubnet:
        """The model with the most parameters, the first of several."""
        return max(self._fitting, key=lambda found: found[1]["params"])[0]


def listed_costs(space: KeywordSpace, budget: Budget) -> Sequence[tuple[KeywordSubnet, Costs]]:
    """Every model of a space with its costs.

    Raises:
        CallError: a limit that keyword models know no cost for.
    """
    if budget.size_bytes is not None:
        raise CallError(
            f"{FLAGS['size_bytes']} limits the graphs of encoders, and {space.name!r} is a space "
            f"of keyword models; give {FLAGS['params']}, four bytes each"
        )
    # A budget of this one limit, which all of its kind share, stands for the costs that are known.
    return _listed(space, Budget(params=1, device=budget.device))


@lru_cache(maxsize=16)
def _listed(space: KeywordSpace, budget: Budget) -> tuple[tuple[KeywordSubnet, Costs], ...]:
    return tuple((subnet, budget.cost_of(space, subnet)) for subnet in space.every())
