"""One subnet an update, every choice uniform by itself: LightHuBERT's."""

import numpy as np

from ...spaces import Space
from ...subnet import Subnet


def draw(space: Space, rng: np.random.Generator, *, num_random: int) -> tuple[Subnet, ...]:
    """One subnet, as `Space.sample` draws it.

    Source: LightHuBERT's released training code, arXiv:2203.15610, section 3.3.
    """
    return (space.sample(rng),)
