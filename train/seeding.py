"""Random numbers as functions of a seed and a place in the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's CPU generator runs from `seed` inside, and is as before outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class Draws:
    """The generators of one update.

    A row draws by its number within the update: dealing the update's rows to other devices or
    passes changes nothing.
    """

    seed: int
    """Of the run, 0 or more."""
    step: int
    """The update, from 0."""

    def update(self) -> np.random.Generator:
        """For what all rows share: the same on every device and in every pass."""
        return np.random.default_rng([self.seed, self.step])

    def rows(self, numbers: list[int]) -> list[np.random.Generator]:
        """One generator for each row, given the rows' numbers within the update."""
        return [np.random.default_rng([self.seed, self.step, 1 + number]) for number in numbers]
