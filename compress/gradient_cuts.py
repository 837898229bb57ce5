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

Place = tuple[slice, ...]
"""A block of a tensor: a slice of each axis."""

_SMALL = 2**16
"""Numbers of a tensor that passes over cost less than a call of Python from the backward pass."""


def cut_out(cut: Cut, stored: Tensor) -> Tensor:
    """A subnet's tensor; its gradient fills its place in that of `stored`, zeros the rest."""
    if all(slices == WHOLE for slices in cut.axes):
        return stored
    place = _one_place(cut.axes)
    if place is not None and (stored.ndim == 1 or stored.numel() <= _SMALL):
        return stored[place]
    taken: Tensor = _CutOut.apply(stored, cut, place)
    return taken


class _CutOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, stored: Tensor, cut: Cut, place: Place | None) -> Tensor:
        ctx.cut, ctx.place, ctx.shape = cut, place, stored.shape
        taken: Tensor = cut.take(stored, torch.cat) if place is None else stored[place]
        return taken

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        whole = gradients[0].new_zeros(ctx.shape)
        if ctx.place is not None:
            whole[ctx.place] = gradients[0]
        else:
            for place, part in _places(ctx.cut.axes, ctx.shape):
                whole[place] = gradients[0][part]
        return whole, None, None


def _one_place(axes: tuple[Slices, ...]) -> Place | None:
    """Where a cut lies that is one block, as most are: a step has a hundred."""
    if any(len(slices) != 1 for slices in axes):
        return None
    return tuple(slices[0] for slices in axes)


def _places(axes: tuple[Slices, ...], shape: torch.Size) -> Iterator[tuple[Place, Place]]:
    """Where each block of the cut tensor lies in the stored one, and where in the cut one."""
    by_axis = []
    for slices, size in zip(axes, shape, strict=True):
        ends = list(accumulate(len(range(*kept.indices(size))) for kept in slices))
        parts = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        by_axis.append(list(zip(slices, parts, strict=True)))
    for blocks in product(*by_axis):
        places, parts = zip(*blocks, strict=True)
        yield places, parts
