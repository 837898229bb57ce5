"""What a subnet costs, one file a cost, without building it.

Every cost is a sum: what each transformer layer takes by its own sizes, and the rest. That is what
makes exact counts of the subnets within a budget possible.
"""

from typing import Protocol

from train.models.wav2vec2_config import Wav2Vec2Config

from ..spaces import Space
from ..subnet import Subnet


class Cost(Protocol):
    """What a file of this folder offers, and a table measured on a device too."""

    def rest(self, full: Wav2Vec2Config, dense: Wav2Vec2Config) -> int:
        """Everything but the transformer's layers.

        Args:
            full: the supernet's sizes.
            dense: sizes of a subnet; its layers are not looked at.
        """

    def layer(self, dense: Wav2Vec2Config, heads: int, ffn: int) -> int:
        """One transformer layer of `heads` heads and `ffn` hidden units, at this width."""


def total(cost: Cost, space: Space, subnet: Subnet) -> int:
    """A subnet's cost.

    Raises:
        SubnetError: the subnet is not of this space.
    """
    dense = space.config(subnet)
    return cost.rest(space.supernet, dense) + sum(
        cost.layer(dense, heads, ffn)
        for heads, ffn in zip(dense.num_heads, dense.ffn_dim, strict=True)
    )
