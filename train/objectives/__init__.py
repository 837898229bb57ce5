"""Objectives, one file a paper: a student sees a damaged view and predicts targets of the whole."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from ..data.batches import Batch


@dataclass(frozen=True)
class Loss:
    """What one batch gives."""

    total: Tensor
    """Scalar to minimize."""
    parts: dict[str, Tensor]
    """Detached scalars worth a line in the log."""


class Objective(nn.Module, ABC):
    """A module that turns a batch into a loss."""

    @abstractmethod
    def forward(self, batch: Batch, rng: np.random.Generator) -> Loss:
        """Score a batch; everything random on the CPU comes from `rng`."""
