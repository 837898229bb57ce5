"""Elastic dimensions: one file each, found by its name. A leading underscore marks no dimension."""

import pkgutil
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from train.models.wav2vec2_config import Wav2Vec2Config
from train.nearest import nearest

from .. import CompressError
from ._slices import WHOLE, Slices


class ElasticDimension(Protocol):
    """What a file of this folder offers."""

    AXES: tuple[str, ...]
    """Axis kinds of `tensor_axes.TENSOR_AXES` that it cuts; no two dimensions share one."""

    def kept(
        self, axis: str, full: Wav2Vec2Config, dense: Wav2Vec2Config, layer: int | None
    ) -> Slices:
        """Slices of the supernet's axis that make up the subnet's, to concatenate in order.

        Args:
            axis: one of `AXES`.
            full: the supernet's sizes.
            dense: the subnet's sizes, nowhere above them.
            layer: the subnet's layer, of the transformer or of the feature extractor, from 0; None
                for a tensor outside of layers.
        """


def dimension_names() -> tuple[str, ...]:
    """Names of the elastic dimensions, which are those of the files here; imports none of them."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


@cache
def get_dimension(name: str) -> ElasticDimension:
    """Import one dimension.

    Raises:
        CompressError: no file has this name; the message holds the nearest one.
    """
    if name not in dimension_names():
        raise CompressError(
            f"unknown elastic dimension {name!r}: {nearest(name, dimension_names())}"
        )
    return cast(ElasticDimension, import_module(f".{name}", __name__))


__all__ = ["WHOLE", "ElasticDimension", "Slices", "dimension_names", "get_dimension"]
