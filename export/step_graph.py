"""Fewer operations in the graph of a step, whose shapes are all fixed and whose batch is one.

An engine spends about a microsecond on each operation, whatever it computes, and a step of a small
model computes little. Torch writes a linear layer over (1, frames, dim) as a product and a sum,
which ONNX Runtime runs as three operations; over (frames, dim) it is one, `Gemm`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

_ALIKE = {"Add", "Sub", "Mul", "Div", "Pow", "Relu", "Gelu", "Sigmoid", "Tanh", "Erf", "Sqrt"}
_ALIKE |= {"Log", "Exp", "Neg", "Clip", "MatMul"}
"""What gives the same over (1, frames, dim) and over (frames, dim)."""
_ALONG = {"LayerNormalization": (2,), "Softmax": (2,), "Concat": (1, 2), "Split": (1, 2)}
_ALONG |= {"Gather": (1,), "Slice": (1, 2)}
"""What does if it works along one of these axes, which it then counts without the batch."""
_RESHAPING = {"Reshape", "Squeeze", "Unsqueeze", "Flatten"}

Shape = tuple[int, ...]


def with_flat_frames(model: Any) -> Any:
    """The same function of the same inputs, its linear layers over (frames, dim).

    Where values leave for an operation that wants the batch, they get it back.

    Args:
        model: an onnx.ModelProto with the shape of every tensor, none of them open; left as it is.

    Returns:
        another one. A product keeps its name.
    """
    graph = _Graph(model)
    flat = {
        number
        for region in graph.regions()
        if any(graph.nodes[number].op_type == "MatMul" for number in region)
        for number in region
    }
    nodes: list[Any] = []
    for number, node in enumerate(graph.nodes):
        if number in flat:
            nodes.extend(graph.flattened(node, flat))
        elif graph.reshapes(node):  # it tells the shape anyway, with a batch before or not
            if graph.maker.get(node.input[0]) in flat:
                node.input[0] = _flat(node.input[0])
            nodes.append(node)
        else:
            nodes.extend(graph.batched(node.input, flat))
            nodes.append(node)
    nodes.extend(graph.batched([value.name for value in graph.proto.output], flat))
    return graph.rebuilt(_as_gemms(_without_detours(nodes, graph), graph))


class _Graph:
    """A graph with its tensors' shapes and makers at hand; nodes are known by their numbers."""

    def __init__(self, model: Any) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self.proto = self._model.graph
        self.nodes = list(self.proto.node)
        values = (*self.proto.value_info, *self.proto.input, *self.proto.output)
        self.shapes: dict[str, Shape] = {
            value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
            for value in values
        }
        self._constants = {tensor.name: tensor for tensor in self.proto.initializer}
        self.stored: dict[str, Shape] = {
            name: tuple(tensor.dims) for name, tensor in self._constants.items()
        }
        self.maker = {
            name: number for number, node in enumerate(self.nodes) for name in node.output
        }
        self._given: set[str] = set()

    def regions(self) -> list[set[int]]:
        """Nodes that may run without the batch, those together that hand values to each other."""
        region_of: dict[int, set[int]] = {}
        for number, node in enumerate(self.nodes):
            if not self._alike(node):
                continue
            merged = {number}
            for name in node.input:
                merged |= region_of.get(self.maker.get(name, -1), set())
            region_of.update(dict.fromkeys(merged, merged))
        return list({id(region): region for region in region_of.values()}.values())

    def reshapes(self, node: Any) -> bool:
        """It gives a stated shape, whatever the shape of what it is given."""
        if node.op_type != "Reshape" or node.input[1] not in self.stored:
            return False
        return min(self.shapes.get(node.output[0], (0,))) > 0

    def states_shape(self, node: Any) -> bool:
        """It is a Reshape whose every size is told, none of them taken from what it is given."""
        if node.op_type != "Reshape" or node.input[1] not in self._constants:
            return False
        return bool((numpy_helper.to_array(self._constants[node.input[1]]) > 0).all())

    def flattened(self, node: Any, flat: set[int]) -> Iterator[Any]:
        """The node over (frames, dim), and what takes the batch off what it is given."""
        for place, name in enumerate(node.input):
            if name in self.stored or not name:
                continue
            if self.maker.get(name) not in flat and _flat(name) not in self._given:
                self._given.add(_flat(name))
                yield self._reshape(name, _flat(name), self.shapes[name][1:])
            node.input[place] = _flat(name)
        axis = self._axis(node)
        if node.op_type == "Slice":
            node.input[3] = self.store(f"axis_{axis - 1}", np.array([axis - 1]))
        for attribute in node.attribute:
            if attribute.name == "axis":
                attribute.i = axis - 1
        for place, name in enumerate(node.output):
            node.output[place] = _flat(name)
        yield node

    def batched(self, names: Sequence[str], flat: set[int]) -> Iterator[Any]:
        """What gives the batch back to those of these tensors that have none, once."""
        for name in names:
            if self.maker.get(name) in flat and name not in self._given:
                self._given.add(name)
                yield self._reshape(_flat(name), name, self.shapes[name])

    def store(self, name: str, values: Any) -> str:
        """A constant, which is stored once under its name."""
        if name not in self.stored:
            self.stored[name] = values.shape
            self._constants[name] = numpy_helper.from_array(values, name)
            self.proto.initializer.append(self._constants[name])
        return name

    def rebuilt(self, nodes: Sequence[Any]) -> Any:
        """The model with these nodes, and with the shapes of the tensors that it has now."""
        del self.proto.node[:]
        self.proto.node.extend(nodes)
        del self.proto.value_info[:]
        used = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in self.proto.initializer if tensor.name in used]
        del self.proto.initializer[:]
        self.proto.initializer.extend(kept)
        return onnx.shape_inference.infer_shapes(self._model)

    def _alike(self, node: Any) -> bool:
        along = _ALONG.get(node.op_type)
        if node.op_type not in _ALIKE and (along is None or self._axis(node) not in along):
            return False
        if not all(map(self._has_batch, node.output)):
            return False
        if node.op_type == "MatMul" and len(self.stored.get(node.input[1], ())) != 2:
            return False
        constants = [name for name in node.input if name in self.stored]
        values = [name for name in node.input if name and name not in self.stored]
        if not values:
            return False
        return all(len(self.stored[name]) <= 2 for name in constants) and all(
            map(self._has_batch, values)
        )

    def _axis(self, node: Any) -> int:
        """The one axis of (1, frames, dim) that a node of `_ALONG` works along; 0: not only one."""
        if node.op_type == "Slice":
            named = self._constants.get(node.input[3]) if len(node.input) > 3 else None
            axes = [] if named is None else numpy_helper.to_array(named).tolist()
        else:
            default = {"LayerNormalization": -1, "Softmax": -1}.get(node.op_type, 0)
            axes = [item.i for item in node.attribute if item.name == "axis"] or [default]
        return int(axes[0]) % 3 if len(axes) == 1 else 0

    def _has_batch(self, name: str) -> bool:
        shape = self.shapes.get(name, ())
        return len(shape) == 3 and shape[0] == 1 and min(shape) > 0

    def _reshape(self, given: str, wanted: str, shape: Shape) -> Any:
        text = "x".join(map(str, shape))
        target = self.store(f"shape_{text}", np.array(shape, dtype=np.int64))
        return helper.make_node("Reshape", [given, target], [wanted], name=f"reshape_{wanted}")


def _flat(name: str) -> str:
    return f"{name}_flat"


def _without_detours(nodes: Sequence[Any], graph: _Graph) -> list[Any]:
    """One Reshape where several follow each other, and none that nothing reads."""
    maker = {name: node for node in nodes for name in node.output}
    for node in nodes:
        if graph.states_shape(node):
            before = maker.get(node.input[0])
            if before is not None and before.op_type in _RESHAPING:
                node.input[0] = before.input[0]
    read = {name for node in nodes for name in node.input}
    read |= {value.name for value in graph.proto.output}
    return [node for node in nodes if node.op_type not in _RESHAPING or node.output[0] in read]


def _as_gemms(nodes: Sequence[Any], graph: _Graph) -> list[Any]:
    """Products over (frames, dim) with the bias that is added to them alone."""
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    gone: set[int] = set()
    made = []
    for node in nodes:
        if id(node) in gone:
            continue
        output = node.output[0]
        (reader,) = readers[output] if len(readers.get(output, ())) == 1 else (None,)
        if node.op_type == "MatMul" and output.endswith(_flat("")) and reader is not None:
            bias = [name for name in reader.input if len(graph.stored.get(name, ())) == 1]
            if reader.op_type == "Add" and bias:
                gone.add(id(reader))
                inputs = [*node.input, bias[0]]
                node = helper.make_node("Gemm", inputs, list(reader.output), name=node.name)
        made.append(node)
    return made
