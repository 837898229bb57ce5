"""Building blocks of a search space as graphs without weights, for a device to time.

Each block is traced by the exporter that writes whole models, with its length open as there, so
that a block runs the operators that it is in a model; that takes half a second to a second each.
The older exporter takes a tenth of that and gives other operators, and stretching one traced graph
to other sizes would guess which constants in it are sizes. Only operators that follow from what
lies around a block are missed: where a block ends, nothing is fused with the next one.
"""

import hashlib
import logging
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from runtime import blocks as format
from runtime.atomic import replacing_file

from .exportable import folded
from .targets import onnx as target

INPUT = "signal"
_OUTPUT = "frame"
_SAME_DATE = (1980, 1, 1, 0, 0, 0)  # the same blocks are the same bytes, whenever they are made

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Block:
    """A part of a model that is timed alone."""

    module: nn.Module
    """(batch, length, ...) to (batch, length or fewer, ...)."""
    shape: tuple[int, ...]
    """Of its input on the device, (1, length, ...)."""


def write_blocks(
    path: Path,
    blocks: Iterable[tuple[str, Block]],
    *,
    space: str,
    definition: str,
    window_samples: int,
) -> int:
    """Write the zip that `python -m runtime bench --blocks` reads.

    Args:
        path: of the zip; an older one is replaced.
        blocks: modules by key, made one at a time.
        space: name of the search space.
        definition: digest of the space's definition.
        window_samples: length of the waveform that the shapes follow from.

    Returns:
        how many blocks were written.

    Raises:
        OSError: the disk is full; an older file is left as it was.
    """
    listed: dict[str, format.Block] = {}
    with (
        replacing_file(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        nothing = Block(nn.Identity(), (1, window_samples))
        overhead = _add(archive, "overhead", nothing)
        for key, block in blocks:
            listed[key] = _add(archive, key, block)
            logger.info("block %s", key)
        contents = format.BlocksFile(
            space=space,
            definition=definition,
            window_samples=window_samples,
            overhead=overhead,
            blocks=listed,
        )
        _put(archive, format.BLOCKS_FILE, contents.to_json().encode())
    return len(listed)


def block_graph(block: Block) -> Any:
    """Trace a block with its weights: an onnx.ModelProto that gives the first frame alone.

    What leaves a graph is copied, megabytes after the first convolutions, and inside of a model
    nothing is. So all but one frame stays where it was made.
    """
    module = _FirstFrame(folded(block.module))
    # Two of a batch: the exporter takes a size of one for a constant.
    example = torch.sin(torch.arange(2 * int(np.prod(block.shape))) * 0.05)
    example = example.view(2, *block.shape[1:])
    return target.trace(module.eval(), example, names=(INPUT, _OUTPUT), length="length")


def without_weights(model: Any) -> Any:
    """The same graph, its weights replaced by an operator each that fills a tensor.

    An engine computes operators without inputs once, when it loads a graph, and treats what
    they give as any weights. No two are filled with the same number: equal weights would make
    products equal, such as queries and keys, and equal products are computed once.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    graph = bare.graph
    stored: list[Any] = []
    fills: list[Any] = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size == 1:
            stored.append(tensor)  # sizes of a reshape, the scale of attention
            continue
        shape = numpy_helper.from_array(np.array(values.shape, dtype=np.int64), f"{tensor.name}.of")
        number = np.array([0.01 + 0.001 * len(fills)], dtype=np.float32)
        value = numpy_helper.from_array(number)
        stored.append(shape)
        fills.append(helper.make_node("ConstantOfShape", [shape.name], [tensor.name], value=value))
    nodes = [*fills, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(stored)
    graph.node.extend(nodes)
    onnx.checker.check_model(bare)
    return bare


class _FirstFrame(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, signal: Tensor) -> Tensor:
        frames: Tensor = self.module(signal)
        return frames[:, :1]


def _add(archive: zipfile.ZipFile, key: str, block: Block) -> format.Block:
    graph: bytes = without_weights(block_graph(block)).SerializeToString()
    name = f"{key}{target.SUFFIX}"
    _put(archive, name, graph)
    digest = hashlib.sha256(graph).hexdigest()
    return format.Block(file=name, sha256=digest, input=INPUT, shape=block.shape)


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _SAME_DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)
