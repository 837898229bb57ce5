"""The layers of an exported graph that hold weights: which they are, and which come first."""

import ast
import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from . import ExportError

OPERATORS = ("Conv", "Gemm", "MatMul")
"""What layers with weights become."""
FRONT_END = "frontend"
"""Modules of this name are signal processing (log-mel, MFCC), not learned layers."""
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A product with stored weights."""

    name: str
    """Of its node: the module's path in the checkpoint, such as body.blocks.0.3."""
    operator: str
    """One of `OPERATORS`."""
    num_weights: int
    """Numbers in its weight, the bias apart."""
    front_end: bool
    """It is signal processing, or the first to see samples."""


def name_layers(graph: Any) -> None:
    """Name each product after the module that makes it, so that people can speak of layers.

    To be called while the exporter's notes are still there. A module with several products, such
    as attention, numbers them from the second on.

    Args:
        graph: an onnx.GraphProto as torch exports it; node names change in place.
    """
    taken: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in OPERATORS:
            continue
        path = _module_path(node)
        if not path:
            continue
        taken[path] = taken.get(path, 0) + 1
        node.name = path if taken[path] == 1 else f"{path}_{taken[path]}"


def layers_of(graph: Any) -> tuple[Layer, ...]:
    """Every layer with weights, in the order of computation.

    The front end is told by name (a module called `FRONT_END`) and by place: the first layers
    that the samples meet. Samples span many powers of ten between a whisper and a shout, and a
    step of 8 bits of the loudest is more than the quiet ones hold.

    Args:
        graph: an onnx.GraphProto, its nodes in topological order as the format demands.
    """
    sizes = {tensor.name: _num_elements(tensor.dims) for tensor in graph.initializer}
    computed: set[str] = set()  # tensors that some layer's weights are in
    found = []
    for node in graph.node:
        weighted = node.op_type in OPERATORS and len(node.input) > 1 and node.input[1] in sizes
        behind = any(name in computed for name in node.input)
        if weighted:
            found.append(
                Layer(
                    name=node.name,
                    operator=node.op_type,
                    num_weights=sizes[node.input[1]],
                    front_end=not behind or FRONT_END in parts(node.name),
                )
            )
        if weighted or behind:
            computed.update(node.output)
    return tuple(found)


def matching(layers: Sequence[Layer], patterns: Iterable[str]) -> frozenset[str]:
    """Names of the layers that any of the patterns fits; `*` and `?` stand for any characters.

    Raises:
        ExportError: a pattern fits no layer; the message lists what there is.
    """
    names = [layer.name for layer in layers]
    found: set[str] = set()
    for pattern in patterns:
        fitting = fnmatch.filter(names, pattern)
        if not fitting:
            raise ExportError(
                f"no layer is called {pattern!r}; this model has {', '.join(names)}. "
                "'*' in a name stands for anything."
            )
        found.update(fitting)
    return frozenset(found)


def _module_path(node: Any) -> str:
    """Path below the exported wrapper; empty where the exporter noted none."""
    weight = node.input[1] if len(node.input) > 1 else ""
    if "." in weight:  # the checkpoint's own name; a fused norm's scope would hide the layer
        path = weight.rpartition(".")[0]
    else:
        notes = {note.key: note.value for note in node.metadata_props}
        scopes = ast.literal_eval(notes.get(_SCOPES, "[]"))
        path = scopes[-2] if len(scopes) > 1 else ""
    return path.partition(".")[2]


def parts(name: str) -> list[str]:
    """A path's modules, the number of a module's further products left off."""
    return [part.partition("_")[0] for part in name.split(".")]


def _num_elements(sizes: Iterable[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
