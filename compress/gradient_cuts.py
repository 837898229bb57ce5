"""Cuts of stored weights that gradients flow back through, each in one piece.

Torch's own slices would each give back a gradient as large as what they were cut from, zeros
all but its part, and add these up: for a feed-forward block of four slices that is ten passes over
the stored tensor where one is enough (benchmarks/supernet.py).
"""

from collections.abc import Iterator
from itertools import accumulate, product
from typing import Any

import torch
from torch import Tensor

from .elastic import WHOLE, Slices
from .slicing import Cut


def cut_out(cut: Cut, stored: Tensor) -> Tensor:
    """A subnet's tensor; its gradient fills its place in that of `stored`, zeros the rest."""
    if all(slices == WHOLE for slices in cut.axes):
        return stored
    if stored.ndim == 1 and len(cut.axes[0]) == 1:  # torch's slice is as good, and has less to call
        return stored[cut.axes[0][0]]
    taken: Tensor = _CutOut.apply(stored, cut)
    return taken


class _CutOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, stored: Tensor, cut: Cut) -> Tensor:
        ctx.cut, ctx.shape = cut, stored.shape
        taken: Tensor = cut.take(stored, torch.cat)
        return taken

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0]
        whole = gradient.new_zeros(ctx.shape)
        for place, part in _places(ctx.cut.axes, ctx.shape):
            whole[place] = gradient[part]
        return whole, None


Place = tuple[slice, ...]


def _places(axes: tuple[Slices, ...], shape: torch.Size) -> Iterator[tuple[Place, Place]]:
    """Where each block of the cut tensor lies in the stored one, and where in the cut one."""
    if all(len(slices) == 1 for slices in axes):  # most of them: a step has a hundred
        yield tuple(slices[0] for slices in axes), WHOLE
        return
    by_axis = []
    for slices, size in zip(axes, shape, strict=True):
        ends = list(accumulate(len(range(*kept.indices(size))) for kept in slices))
        parts = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        by_axis.append(list(zip(slices, parts, strict=True)))
    for blocks in product(*by_axis):
        places, parts = zip(*blocks, strict=True)
        yield places, parts
