"""Attention with linear biases, symmetric, with a learned scale for each head.

Source: ALiBi, arXiv:2108.12409; the learned scale is data2vec 2.0's, arXiv:2212.07525.
"""

import math

import torch
from torch import Tensor, nn


class Alibi(nn.Module):
    """Biases that fall with the distance of two frames, wherever the frames between them went."""

    slopes: Tensor

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_heads))
        self.register_buffer("slopes", torch.tensor(slopes(num_heads)), persistent=False)

    def forward(self, places: Tensor) -> Tensor:
        """Biases for frames at these places.

        Args:
            places: int (batch, frames) in the whole utterance; a batch of 1 serves any batch.

        Returns:
            (batch, heads, frames, frames), 0 on the diagonal and negative beside it.
        """
        distance = (places.unsqueeze(1) - places.unsqueeze(2)).abs().unsqueeze(1)
        steepness = self.slopes * self.scale.clamp_min(0.0)
        return -distance * steepness[:, None, None]


def slopes(num_heads: int) -> list[float]:
    """Slope of each head: a geometric row, filled up from that of the next power of two.

    Args:
        num_heads: 1 or more; 8 heads get 1/2, 1/4 … 1/256.
    """
    power = 2 ** int(math.log2(num_heads))
    row = [2.0 ** (-8.0 * head / power) for head in range(1, power + 1)]
    between = [2.0 ** (-8.0 * head / (2 * power)) for head in range(1, 2 * power + 1, 2)]
    return row + between[: num_heads - power]
