"""A classifier's graph of another exporter, made to take samples as they come and tell posteriors.

Normalization before it and the softmax after it become operators, so that nobody who runs the graph
has to know of either.
"""

from typing import Any

import onnx
from onnx import TensorProto, helper

from . import ExportError
from .layers import OPERATORS

EPSILON = 1e-7
"""Added to the variance, as transformers' Wav2Vec2FeatureExtractor adds it."""
_OLDEST_OPSET = 18
"""Since then ReduceMean takes its axes as an input."""
_START = "from_pcm"


def from_pcm(model: Any, *, normalize: bool) -> None:
    """Wrap a graph in place.

    Args:
        model: an onnx.ModelProto with one input, waveforms (batch, samples), and one output, logits
            (batch, labels). Its nodes are named by the modules that made them, as torch's older
            exporter does: `/hubert/encoder/layers.0/attention/q_proj/MatMul`.
        normalize: every waveform is brought to zero mean and unit variance first.

    Raises:
        ExportError: another number of inputs or outputs, or an opset before 18.
    """
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise ExportError(
            "a classifier's graph has one input and one output; this one takes "
            f"{[value.name for value in graph.input]} and gives "
            f"{[value.name for value in graph.output]}"
        )
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    if opset < _OLDEST_OPSET:
        raise ExportError(f"a graph of opset {_OLDEST_OPSET} or newer is needed, this is {opset}")
    waveform, logits = graph.input[0].name, graph.output[0].name
    labels = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if normalize:
        before = _normalization(graph, waveform)
    else:
        before = [helper.make_node("Identity", ["pcm"], [waveform], f"{_START}/waveform")]
    after = helper.make_node("Softmax", [logits], ["posteriors"], "softmax", axis=-1)
    nodes = [*before, *graph.node, after]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.append(_value("pcm", ["batch", "samples"]))
    graph.output.append(_value("posteriors", ["batch", labels]))
    _name_products(graph)
    _forget_where(model)
    onnx.checker.check_model(model)


def _normalization(graph: Any, waveform: str) -> list[Any]:
    """(pcm - mean) / sqrt(variance + EPSILON) over each waveform; its constants join the graph."""
    axis, epsilon = f"{_START}/axis", f"{_START}/epsilon"
    graph.initializer.append(helper.make_tensor(axis, TensorProto.INT64, [1], [1]))
    graph.initializer.append(helper.make_tensor(epsilon, TensorProto.FLOAT, [], [EPSILON]))

    steps = [
        ("ReduceMean", ["pcm", axis], "mean"),
        ("Sub", ["pcm", "mean"], "centred"),
        ("Mul", ["centred", "centred"], "square"),
        ("ReduceMean", ["square", axis], "variance"),
        ("Add", ["variance", epsilon], "raised"),
        ("Sqrt", ["raised"], "deviation"),
        ("Div", ["centred", "deviation"], "normalized"),
    ]
    # Names of our own, lest they meet the exporter's; the last is what its graph reads.
    ours = {output: f"{_START}/{output}" for _, _, output in steps}
    outputs = ours | {"normalized": waveform}
    return [
        helper.make_node(
            operator, [outputs.get(name, name) for name in inputs], [outputs[output]], ours[output]
        )
        for operator, inputs, output in steps
    ]


def _name_products(graph: Any) -> None:
    """Call products by the path of their module, those after a module's first with a number."""
    taken: dict[str, int] = {}
    for node in graph.node:
        path = node.name.strip("/").rpartition("/")[0].replace("/", ".")
        if node.op_type not in OPERATORS or not path:
            continue
        taken[path] = taken.get(path, 0) + 1
        node.name = path if taken[path] == 1 else f"{path}_{taken[path]}"


def _forget_where(model: Any) -> None:
    """Stack traces of this machine's source tree are no business of a phone."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""


def _value(name: str, shape: list[str | int]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
