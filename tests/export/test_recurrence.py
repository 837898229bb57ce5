"""A state that comes back to itself is never rounded on the way."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.clips import Face
from export.quantize import Precision, Quantizer
from export.quantizers import quantizer_names
from export.recurrence import unround_states
from runtime.backends.onnx import Engine

CHUNK = 4
LAYERS = ("first", "mix")


def leaky_graph():
    """A sum that leaks: state = 0.9 * state + layer(pcm); the answer is another layer of it."""
    rng = np.random.default_rng(0)
    weights = {
        "w0": np.eye(CHUNK, dtype=np.float32),
        "w1": rng.normal(0, 0.5, (CHUNK, 3)).astype(np.float32),
        "leak": np.array(0.9, dtype=np.float32),
        "w2": rng.normal(0, 0.5, (3, 3)).astype(np.float32),
    }
    node = helper.make_node
    nodes = [
        node("MatMul", ["pcm", "w0"], ["heard"], "frontend"),
        node("MatMul", ["heard", "w1"], ["new"], "first"),
        node("Mul", ["sum", "leak"], ["leaked"], "leaking"),
        node("Add", ["leaked", "new"], ["total"], "adding"),
        node("Identity", ["total"], ["sum_next"], "handing"),
        node("MatMul", ["sum", "w2"], ["logits"], "mix"),
        node("Softmax", ["logits"], ["posteriors"], "softmax", axis=-1),
    ]

    def value(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "leaky",
        [value("pcm", 1, CHUNK), value("sum", 1, 3)],
        [value("posteriors", 1, 3), value("sum_next", 1, 3)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def clips(count, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 0.5, (count, 40 * CHUNK)).astype(np.float32)


def last_sum(graph, clip):
    engine = Engine(graph)
    return Face.of(engine.inputs).answers(engine.run, clip[None], "sum_next")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Ranges from streams of 400 steps; ten seconds of them would be 40,000."""
    monkeypatch.setattr("export.clips._STREAM_SAMPLES", 400 * CHUNK)


@pytest.fixture(scope="module")
def float32():
    return leaky_graph()


@pytest.mark.parametrize("library", quantizer_names())
def test_a_leaking_sum_in_8_bits_is_the_float_one_where_only_its_reader_is_in_8_bits(
    float32, library
):
    if library == "optimum":
        pytest.importorskip("optimum.onnxruntime")
    quantizer = Quantizer(float32, Precision.INT8_STATIC, clips(8, seed=1), library=library)
    assert {layer.name for layer in quantizer.layers} <= {"first", "mix"}
    clip = clips(1, seed=2)[0]
    quantized = quantizer.quantized(["mix"])
    rounded = [node for node in onnx.load_from_string(quantized).graph.node if "sum" in node.input]
    assert {node.op_type for node in rounded} == {"QuantizeLinear", "Mul"}
    assert np.array_equal(last_sum(quantized, clip), last_sum(float32, clip))


def test_without_it_the_error_of_a_step_would_be_the_next_ones_input(float32, monkeypatch):
    monkeypatch.setattr("export.quantize.unround_states", lambda graph, layers: None)
    quantizer = Quantizer(float32, Precision.INT8_STATIC, clips(8, seed=1))
    clip = clips(1, seed=2)[0]
    gap = np.abs(last_sum(quantizer.quantized(["mix"]), clip) - last_sum(float32, clip)).max()
    assert gap > 1e-3


def test_a_graph_without_states_is_left_as_it_is():
    from tiny_graphs import audio, tiny_graph

    graph = Quantizer(tiny_graph(), Precision.INT8_STATIC, audio(8, seed=1)).quantized(
        ["body.deep", "classifier"]
    )
    model = onnx.load_from_string(graph)
    unround_states(model.graph, ["body.deep", "classifier"])
    assert model.SerializeToString(deterministic=True) == graph
