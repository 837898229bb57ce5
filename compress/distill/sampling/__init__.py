"""Which subnets an update of stage 2 trains: one file a rule, found by its name."""

import pkgutil
from functools import cache
from importlib import import_module
from typing import Protocol, cast

import numpy as np

from train.nearest import nearest

from ... import CompressError
from ...spaces import Space
from ...subnet import Subnet


class Sampling(Protocol):
    """What a file of this folder offers."""

    def draw(
        self, space: Space, rng: np.random.Generator, *, num_random: int
    ) -> tuple[Subnet, ...]:
        """The subnets that one update trains on its batch, their losses averaged.

        Args:
            space: where they are from.
            rng: the update's, so that every process and pass draws the same.
            num_random: how many a rule that takes several draws at random; others draw one.
        """


def sampling_names() -> tuple[str, ...]:
    """Names of the rules, which are those of the files here; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


@cache
def get_sampling(name: str) -> Sampling:
    """Import one rule.

    Raises:
        CompressError: no file has this name; the message holds the nearest one.
    """
    if name not in sampling_names():
        raise CompressError(f"unknown sampling {name!r}: {nearest(name, sampling_names())}")
    return cast(Sampling, import_module(f".{name}", __name__))
