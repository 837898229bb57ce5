"""From the supernet's tensors to a subnet's: what to take from where."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .elastic import WHOLE, Slices, dimension_names, get_dimension
from .spaces import Space
from .subnet import Subnet
from .tensor_axes import FIXED, TENSOR_AXES, tensor_names


@dataclass(frozen=True)
class Cut:
    """One tensor of a dense subnet, cut from one of the supernet."""

    source: str
    """The supernet's tensor; its layer number may differ from the subnet's."""
    axes: tuple[Slices, ...]
    """For each axis the slices to concatenate in order; `WHOLE` leaves the axis alone."""

    def take(self, tensor: Any, concatenate: Callable[[list[Any], int], Any]) -> Any:
        """Cut `tensor`: a view where every axis is one slice, else a copy.

        Args:
            tensor: the supernet's, of numpy or torch.
            concatenate: `np.concatenate` or `torch.cat`.
        """
        for axis, slices in enumerate(self.axes):
            if slices == WHOLE:
                continue
            parts = [tensor[(*WHOLE * axis, kept)] for kept in slices]
            tensor = parts[0] if len(parts) == 1 else concatenate(parts, axis)
        return tensor


def slicing_plan(space: Space, subnet: Subnet) -> dict[str, Cut]:
    """Say for each tensor of the dense subnet where it comes from.

    Returns:
        the dense encoder's state-dict names, layers numbered 0 to depth - 1, each with its cut.
        `pos_conv.conv.weight` means the product of weight normalization on both sides.

    Raises:
        SubnetError: the subnet is not of this space.

    Source: LightHuBERT's released code; rules in arXiv:2203.15610 and its `Elastic*` modules.
    """
    full, dense = space.supernet, space.config(subnet)
    by_axis = {
        axis: dimension
        for dimension in map(get_dimension, dimension_names())
        for axis in dimension.AXES
    }
    layers = [
        layer
        for kept in by_axis["layer"].kept("layer", full, dense, None)
        for layer in range(full.num_layers)[kept]
    ]
    plan: dict[str, Cut] = {}
    for pattern, index in tensor_names(dense):
        source = layers[index] if "{l}" in pattern and index is not None else index
        axes = tuple(
            WHOLE if axis == FIXED else by_axis[axis].kept(axis, full, dense, index)
            for axis in TENSOR_AXES[pattern]
        )
        plan[_numbered(pattern, index)] = Cut(_numbered(pattern, source), axes)
    return plan


def _numbered(pattern: str, index: int | None) -> str:
    return pattern.format(i=index, l=index)
