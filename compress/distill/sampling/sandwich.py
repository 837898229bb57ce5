"""The largest, the smallest and some between them in every update: the sandwich rule.

What bounds the others from above and below is trained all the time, at the price of so many
passes of the student; the teacher's pass is shared. Encoders all learn from the teacher: the rule's
in-place distillation, smaller subnets from the largest, is for keyword models (`in_place`).
"""

from typing import Protocol, TypeVar

import numpy as np

Chosen = TypeVar("Chosen", covariant=True)


class Choices(Protocol[Chosen]):
    """A space of either kind."""

    def largest(self) -> Chosen:
        """The upper extreme."""

    def smallest(self) -> Chosen:
        """The lower extreme."""

    def sample(self, rng: np.random.Generator) -> Chosen:
        """Draw a subnet."""


def draw(
    space: Choices[Chosen], rng: np.random.Generator, *, num_random: int
) -> tuple[Chosen, ...]:
    """The two extremes, then `num_random` subnets as the space's `sample` draws them.

    Source: universally slimmable networks, arXiv:1903.05134, section 3; BigNAS, arXiv:2003.11142.
    """
    drawn = (space.sample(rng) for _ in range(num_random))
    return space.largest(), space.smallest(), *drawn
