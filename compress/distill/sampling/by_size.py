"""One subnet an update, all sizes alike: small and large ones train as often as middling ones.

Most subnets of a space are of middling size, so that uniform choices hardly ever come near either
end: of lighthubert-small's, one in ten thousand lies in the largest tenth of the range of sizes.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ...budget import Budget
from ...cost.params import params
from ...feasible import FeasibleSet
from ...search.genes import encoder_from, gene_choices, genes_of
from ...spaces import Space
from ...subnet import Subnet


def draw(space: Space, rng: np.random.Generator, *, num_random: int) -> tuple[Subnet, ...]:
    """Draw a number of parameters, a subnet that fits it, and let that grow until it fills it.

    The number is uniform between the smallest and the largest subnet's. Width and depth are
    uniform among those that have both smaller and larger subnets; where there are none, the number
    lies in a gap, and those that come nearest from below are taken. The subnet is uniform among
    all of that width and depth that fit, which for a large number are middling again: so it grows.
    """
    size = int(rng.integers(params(space, space.smallest()), params(space, space.largest()) + 1))
    begun = [shape for shape in _shapes(space) if params(space, shape.smallest()) <= size]
    filled = [shape for shape in begun if params(space, shape.largest()) >= size]
    if not filled:
        filled = [max(begun, key=lambda shape: params(space, shape.largest()))]
    within = FeasibleSet(filled[rng.integers(len(filled))], Budget(params=size))
    return (_grown(within, rng),)


def _grown(within: FeasibleSet, rng: np.random.Generator) -> Subnet:
    """A subnet in which no choice can be raised without leaving the set."""
    choices = gene_choices(within.space)
    genes = genes_of(within.space, within.sample(rng), rng)
    growing = list(choices)
    while growing:
        name = growing[rng.integers(len(growing))]
        alleles = choices[name]
        above = alleles.index(genes[name]) + 1
        raised = genes | {name: alleles[min(above, len(alleles) - 1)]}
        if above < len(alleles) and within.holds(encoder_from(within.space, raised)):
            genes = raised
        else:
            growing.remove(name)  # for good: the others only grow
    return encoder_from(within.space, genes)


@lru_cache(maxsize=8)
def _shapes(space: Space) -> list[Space]:
    """The space's parts of one width and depth each."""
    return [
        replace(space, embed_dim=(embed_dim,), depth=(depth,))
        for embed_dim in space.embed_dim
        for depth in space.depth
    ]
