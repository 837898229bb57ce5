"""A TFLite file as objects: the layers that hold weights, and names that people can use."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from . import ExportError
from .layers import FRONT_END, Layer, parts

OPERATORS = {3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 9: "FULLY_CONNECTED"}
"""What layers with weights become, by the format's own numbers; the weight is the second input."""
MAIN = "serving_default"
"""Signature of the window's own length, the format's usual name for the only one."""


def read(graph: bytes) -> Any:
    """The file as a ModelT of LiteRT's own tools.

    Raises:
        ExportError: ai-edge-litert is not installed.
    """
    return _tools().read_model_from_bytearray(graph)


def write(model: Any) -> bytes:
    """The file that a ModelT describes."""
    return bytes(_tools().convert_object_to_bytearray(model))


def layers_of(model: Any) -> tuple[Layer, ...]:
    """Every layer with weights, in the order of computation, as `layers.layers_of` tells them.

    Signatures of other lengths hold the same layers; the first one's are listed.

    Args:
        model: as `rename` has left it.
    """
    graph = model.subgraphs[0]
    computed: set[int] = set()  # tensors that some layer's weights are in
    found = []
    for operator in graph.operators:
        weighted = _weight(model, graph, operator) is not None
        behind = any(number in computed for number in operator.inputs)
        if weighted:
            name = layer_of(_text(graph.tensors[operator.outputs[0]].name))
            found.append(
                Layer(
                    name=name,
                    operator=OPERATORS[_code(model, operator)],
                    num_weights=int(np.prod(graph.tensors[operator.inputs[1]].shape)),
                    front_end=not behind or FRONT_END in parts(name),
                )
            )
        if weighted or behind:
            computed.update(operator.outputs)
    return tuple(found)


def layer_of(tensor: str) -> str:
    """The layer that makes a tensor of this name."""
    return tensor.partition("@")[0]


def rename(model: Any, module: nn.Module, tensors: Mapping[str, str]) -> None:
    """Call each layer's output `module.path@signature`, all else by number; it changes in place.

    The converter's own names are chains of Python classes, of some hundred characters each, and
    after its fusions one may speak of another layer. So a weight tells its module itself, whether
    a norm's gain was folded into it or not; the name is asked where it does not.

    Args:
        model: as litert-torch wrote it.
        module: what was converted.
        tensors: new names of the signatures' inputs and outputs by their present ones.
    """
    scopes = _scopes(module)
    for subgraph in model.subgraphs:
        signature = _text(subgraph.name) or MAIN
        taken: dict[str, int] = {}
        names = {number: f"{number}@{signature}" for number in range(len(subgraph.tensors))}
        for operator in subgraph.operators:
            weight = _weight(model, subgraph, operator)
            if weight is None:
                continue
            values = np.frombuffer(bytes(model.buffers[weight.buffer].data), dtype=np.float32)
            path = _stored_path(values, module) or _scope_path(_text(weight.name), scopes)
            path = path.partition(".")[2] or OPERATORS[_code(model, operator)].lower()
            taken[path] = taken.get(path, 0) + 1
            name = path if taken[path] == 1 else f"{path}_{taken[path]}"
            names[operator.outputs[0]] = f"{name}@{signature}"
        for number, tensor in enumerate(subgraph.tensors):
            tensor.name = names[number].encode()
    for definition in model.signatureDefs:
        for entry in (*definition.inputs, *definition.outputs):
            entry.name = tensors.get(_text(entry.name), _text(entry.name)).encode()


def _weight(model: Any, graph: Any, operator: Any) -> Any:
    """The stored weight of a layer; None for operators without."""
    if _code(model, operator) not in OPERATORS:
        return None
    weight = graph.tensors[operator.inputs[1]]
    data = model.buffers[weight.buffer].data
    return weight if data is not None and len(data) else None


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _scopes(module: nn.Module) -> dict[str, str]:
    """Paths by the chains of classes that the exporter names modules by."""
    found: dict[str, str] = {}

    def walk(child: nn.Module, name: str, scope: str, path: str) -> None:
        kind = type(child)
        deeper = f"{scope}/{kind.__module__}.{kind.__qualname__}_{name}"
        found.setdefault(deeper, path)
        if isinstance(child, nn.ModuleList):  # never called, so that no chain has it
            deeper = scope
        for part, grandchild in child.named_children():
            walk(grandchild, part, deeper, f"{path}.{part}" if path else part)

    walk(module, "module", "", "")
    return found


def _scope_path(tensor: str, scopes: Mapping[str, str]) -> str:
    """Fused operators join names by ;; and the product comes last; ; and a number make unique."""
    piece = tensor.rpartition(";;")[2].partition(";")[0]
    scope = "/" + piece.partition("/")[2]  # without the wrapper
    while scope and scope not in scopes:
        scope = scope.rpartition("/")[0]
    return scopes.get(scope, "")


def _stored_path(weight: np.ndarray, module: nn.Module) -> str:
    """The module whose weight this is, but for the gain of a norm before or behind it."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.numel() != weight.size or tensor.ndim < 2:
            continue
        stored = tensor.detach().cpu().numpy()
        # (outputs, width, inputs); of filter banks the transpose, of lone channels (width, outputs)
        layouts = [np.moveaxis(stored, 1, -1).reshape(len(stored), -1)]
        layouts += [stored.T] if stored.ndim == 2 else []
        layouts += [np.moveaxis(stored[:, 0], 0, -1).reshape(-1, len(stored))]
        for layout in layouts:
            if layout.size == weight.size and _scaled(weight.reshape(layout.shape), layout):
                return name.rpartition(".")[0]
    return ""


def _scaled(weight: np.ndarray, stored: np.ndarray) -> bool:
    """Whether each row, or each column, is the stored one's times a number."""
    axes = [axis for axis in (0, 1) if stored.shape[axis] > 1]
    near = 1e-5 * np.abs(weight).max()  # float32, and a gain of it
    for axis in axes:
        powers = np.square(stored).sum(axis=axis, keepdims=True)
        gain = (weight * stored).sum(axis=axis, keepdims=True) / np.where(powers, powers, 1.0)
        if np.abs(weight - gain * stored).max() <= near:
            return True
    return bool(np.array_equal(weight, stored))


def _text(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else name or ""


def _tools() -> Any:
    try:
        from ai_edge_litert.tools import flatbuffer_utils
    except ImportError as error:
        raise ExportError(
            f'TFLite export needs ai-edge-litert ({error}): pip install "otolite[tflite]"'
        ) from error
    return flatbuffer_utils
