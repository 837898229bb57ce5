"""Objectives, one file a paper: a student sees a damaged view and predicts targets of the whole.

A file `<name>.py` holds the objective and its `Recipe`; the recipe's key `objective` names it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ..data.batches import Batch
from ..seeding import Draws


@dataclass(frozen=True)
class Loss:
    """What one batch gives."""

    total: Tensor
    """Scalar to minimize, summed over what counts; the learner divides by all that an update holds,
    on every device and in every pass."""
    count: float
    """How many there were: hidden frames, or clips. Known without asking a device."""
    parts: dict[str, Tensor]
    """Detached scalars worth a line in the log, each already a mean."""


class Objective(nn.Module, ABC):
    """A module that turns a batch into a loss."""

    @property
    def leaves_weights_out(self) -> bool:
        """Whether some updates use only a part of what learns, layerdrop aside; the same part in
        every process and pass."""
        return False

    @abstractmethod
    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Score a batch; everything random on the CPU comes from `draws`."""

    def after_update(self, update: int) -> None:
        """Move what the optimizer does not, such as a teacher.

        Args:
            update: optimizer steps done, from 1.
        """

    def check(self, update: int, metrics: Mapping[str, float]) -> None:
        """Look at what is about to be logged, after `update` optimizer steps.

        Raises:
            CollapseError: training has lost its targets and will not find them again.
        """
