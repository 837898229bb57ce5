"""The largest, the smallest and some between them in every update: the sandwich rule.

What bounds the others from above and below is trained all the time, at the price of so many
passes of the student; the teacher's pass is shared. Here all of them learn from the teacher: the
rule's in-place distillation, smaller subnets from the largest, is left out.
"""

import numpy as np

from ...spaces import Space
from ...subnet import Subnet


def draw(space: Space, rng: np.random.Generator, *, num_random: int) -> tuple[Subnet, ...]:
    """The two extremes, then `num_random` subnets as `Space.sample` draws them.

    Source: universally slimmable networks, arXiv:1903.05134, section 3; BigNAS, arXiv:2003.11142.
    """
    drawn = (space.sample(rng) for _ in range(num_random))
    return space.largest(), space.smallest(), *drawn
