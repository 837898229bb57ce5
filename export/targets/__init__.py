"""Formats that a graph is written in, one file each: the file's name is its name."""

import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from runtime.stream import Engine as RuntimeEngine

from .. import ExportError
from ..clips import Run
from ..layers import Layer
from ..plugins import get_plugin, plugin_names
from ..quantize import Precision

DEFAULT_FORMAT = "onnx"
"""What an export writes unless another is named."""


class LayerQuantizer(Protocol):
    """Makes a graph's layers 8 bits wide, any choice of them."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those that can be quantized, in the order of computation."""

    def quantized(self, names: Collection[str]) -> bytes:
        """The graph with these layers in 8 bits and all else as it was."""


class Target(Protocol):
    """What a file of this folder offers."""

    SUFFIX: str
    """Of a graph's file, the dot included."""
    QUANTIZERS: tuple[str, ...]
    """Libraries that put its layers in 8 bits, the usual one first."""

    @property
    def Engine(self) -> Callable[[bytes], RuntimeEngine]:  # noqa: N802 a class, where it is
        """The engine that runs this format first."""

    def write(
        self,
        module: nn.Module,
        path: Path,
        *,
        window_samples: int,
        output: str = "posteriors",
        lengths: Collection[int] = (),
    ) -> None:
        """Write a graph of windows."""

    def write_step(self, module: nn.Module, path: Path) -> None:
        """Write one step of a stream, its states explicit."""

    def plain(self, graph: bytes) -> Run:
        """Another way to run the graph here, with other kernels than the engine's own."""

    def with_logits(self, graph: bytes) -> tuple[bytes, str | None]:
        """The graph with what its softmax reads as one more output, and that output's name.

        None where a format has no such way; logits are then the logarithms of the posteriors,
        which differ from them by a number that a softmax ignores.
        """

    def layers(self, graph: bytes) -> tuple[Layer, ...]:
        """Every layer with weights, in the order of computation."""

    def Quantizer(  # noqa: N802 a class, where it is
        self,
        graph: bytes,
        precision: Precision,
        calibration: NDArray[np.float32],
        *,
        library: str = ...,
    ) -> LayerQuantizer:
        """Prepares to quantize by one of `QUANTIZERS`; raises ExportError where nothing can be."""


def target_names() -> list[str]:
    """Every format's name, sorted; none is imported."""
    return plugin_names(sys.modules[__name__])


def get_target(name: str) -> Target:
    """A format by its name.

    Raises:
        ExportError: there is none of that name; the nearest is named.
    """
    return cast(Target, get_plugin(sys.modules[__name__], name, kind="format"))


def get_targets(names: Collection[str], quantizer: str | None = None) -> list[Target]:
    """Formats by their names, once each.

    Args:
        names: of one or more.
        quantizer: a library that one of them at least must know; None: whichever is usual.

    Raises:
        ExportError: none is named, there is none of a name, or nothing could use the library.
    """
    targets = [get_target(name) for name in dict.fromkeys(names)]
    if not targets:
        raise ExportError(f"formats must name one or more of {', '.join(target_names())}")
    known = [library for target in targets for library in target.QUANTIZERS]
    if quantizer is not None and quantizer not in known:
        raise ExportError(
            f"{quantizer} does not quantize {' or '.join(dict.fromkeys(names))}, which "
            f"{', '.join(known)} can; name one of these, or none"
        )
    return targets


def library_of(target: Target, quantizer: str | None) -> str:
    """What quantizes a format: the library asked for where it knows it, or else its usual one."""
    return quantizer if quantizer in target.QUANTIZERS else target.QUANTIZERS[0]
