"""What a step hands to the next goes round and round, so nothing on that way is rounded."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

_NEXT = "_next"


def unround_states(graph: Any, layers: Collection[str]) -> None:
    """Let states pass by the roundings that static 8 bits put before the layers that read them.

    The library rounds a tensor for all who read it, though only the layers ask for it. Where a
    state comes back to itself past such a rounding, the error of one step would be an input of the
    next, for as long as the stream lasts.

    Args:
        graph: an onnx.GraphProto with QuantizeLinear and DequantizeLinear; changed in place. One
            without states is left as it is.
        layers: names of the nodes in 8 bits; what goes through one of them comes out as new.
    """
    nodes = [node for node in graph.node if node.name not in layers]
    makers = {name: node for node in nodes for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    for value in graph.input:
        if f"{value.name}{_NEXT}" not in outputs:
            continue
        reached = set(_walk([value.name], lambda name: _outputs(readers.get(name, ()))))
        leading = set(_walk([f"{value.name}{_NEXT}"], lambda name: _inputs(makers.get(name))))
        for name in reached & leading:
            rounded = makers.get(name)
            if rounded is None or rounded.op_type != "DequantizeLinear":
                continue
            exact = makers[rounded.input[0]].input[0]
            for reader in readers.get(name, ()):
                if reached & leading & set(reader.output):
                    reader.input[:] = [exact if one == name else one for one in reader.input]


def _walk(names: Iterable[str], onwards: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """All tensors that can be reached, the first ones included."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield name
            waiting.extend(onwards(name))


def _outputs(nodes: Iterable[Any]) -> list[str]:
    return [name for node in nodes for name in node.output]


def _inputs(node: Any | None) -> list[str]:
    return [] if node is None else list(node.input)
