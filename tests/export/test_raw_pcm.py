"""Another exporter's graph made to take raw samples: against transformers' feature extractor."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from transformers import Wav2Vec2FeatureExtractor

from export import ExportError
from export.raw_pcm import from_pcm
from runtime.backends.onnx import Engine

FRAME = 4


def exported(opset: int = 20) -> onnx.ModelProto:
    """Largest frames through two products and a bias, named as torch's older exporter names."""
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.normal(0, 1, (5, 1, FRAME)).astype(np.float32),
        "up": rng.normal(0, 1, (5, 5)).astype(np.float32),
        "down": rng.normal(0, 1, (5, 3)).astype(np.float32),
        "axis": np.array([1], dtype=np.int64),
        "time": np.array([2], dtype=np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["input_values", "axis"], ["row"], "/Unsqueeze"),
        node("Conv", ["row", "kernel"], ["frames"], "/body/conv_layers.0/conv/Conv"),
        node("ReduceMax", ["frames", "time"], ["largest"], "/body/ReduceMax", keepdims=0),
        node("MatMul", ["largest", "up"], ["hidden"], "/body/layers.0/mlp/MatMul"),
        node("MatMul", ["hidden", "down"], ["logits"], "/body/layers.0/mlp/MatMul_1"),
    ]
    nodes[1].doc_string = "somewhere/model.py"
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("input_values", TensorProto.FLOAT, ["b", "t"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 3])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def wrapped(*, normalize: bool) -> onnx.ModelProto:
    model = exported()
    from_pcm(model, normalize=normalize)
    return model


LOGITS = Engine(exported().SerializeToString())
ENGINES = {
    normalize: Engine(wrapped(normalize=normalize).SerializeToString())
    for normalize in (False, True)
}


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@given(
    normalize=st.booleans(),
    batch=st.integers(1, 3),
    samples=st.integers(FRAME, 1_999),
    loudness=st.sampled_from([1e-2, 0.1, 1.0]),
    offset=st.floats(-0.5, 0.5, width=32),
    seed=st.integers(0, 999),
)
def test_a_wrapped_graph_answers_as_feature_extractor_graph_and_softmax_do(
    normalize, batch, samples, loudness, offset, seed
):
    rng = np.random.default_rng(seed)
    pcm = (loudness * rng.uniform(-1, 1, (batch, samples)) + loudness * offset).astype(np.float32)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalize)
    values = extractor(list(pcm), sampling_rate=16_000, return_tensors="np")["input_values"]
    expected = softmax(LOGITS.run({"input_values": values})["logits"].astype(np.float64))
    answers = ENGINES[normalize].run({"pcm": pcm})["posteriors"]
    assert np.abs(answers - expected).max() <= 1e-5  # float32 sums in another order


def test_a_constant_signal_is_finite():
    answers = ENGINES[True].run({"pcm": np.full((1, 100), 0.3, dtype=np.float32)})["posteriors"]
    assert np.isfinite(answers).all()


@pytest.mark.parametrize("normalize", [False, True])
def test_inputs_and_outputs_are_those_of_a_bundle(normalize):
    engine = ENGINES[normalize]
    assert [(value.name, value.shape) for value in engine.inputs] == [("pcm", ("batch", "samples"))]
    assert [(value.name, value.shape) for value in engine.outputs] == [("posteriors", ("batch", 3))]


def test_products_are_called_by_their_modules_and_no_path_is_left():
    model = wrapped(normalize=True)
    products = [node.name for node in model.graph.node if node.op_type in ("Conv", "MatMul")]
    assert products == ["body.conv_layers.0.conv", "body.layers.0.mlp", "body.layers.0.mlp_2"]
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert b"somewhere" not in model.SerializeToString()


def test_a_graph_of_two_inputs_or_an_old_opset_is_refused():
    model = exported()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["b", "t"]))
    with pytest.raises(ExportError, match=r"one input and one output; .*'input_values', 'mask'"):
        from_pcm(model, normalize=False)
    with pytest.raises(ExportError, match="opset 18 or newer is needed, this is 17"):
        from_pcm(exported(opset=17), normalize=True)
