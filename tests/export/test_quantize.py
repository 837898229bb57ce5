"""Which layers are in 8 bits, and that all else is as it was."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from tiny_graphs import FEATURES, LAYERS, audio, tiny_graph

from export import ExportError
from export.layers import layers_of, matching
from export.quantize import Precision, Quantizer
from runtime.backends.onnx import Engine

INT8 = [precision for precision in Precision if precision is not Precision.FLOAT32]
GRAPH = tiny_graph()
CAN = {Precision.INT8_DYNAMIC: LAYERS[2:], Precision.INT8_STATIC: LAYERS}
WEIGHTS = dict(zip(LAYERS, ("first", "deep", "proj", "last"), strict=True))


def parsed(graph):
    return onnx.load_from_string(graph).graph


@pytest.fixture(scope="module", params=INT8)
def quantizer(request):
    return Quantizer(GRAPH, request.param, audio(16, seed=1))


def stored(graph):
    """Every stored tensor's type, by name."""
    return {tensor.name: tensor.data_type for tensor in parsed(graph).initializer}


def layers_in_8_bits(graph):
    """By the type of their stored weights, whatever the library called them."""
    unsigned = [name for name, kind in stored(graph).items() if kind == TensorProto.UINT8]
    return {
        layer
        for layer, weight in WEIGHTS.items()
        if any(name.startswith(weight) and "quantized" in name for name in unsigned)
    }


def test_layers_are_told_from_signal_processing_and_from_products_without_weights():
    layers = layers_of(parsed(GRAPH))
    assert [layer.name for layer in layers] == ["body.frontend", "body.frontend_2", *LAYERS]
    assert [layer.front_end for layer in layers] == [True, True, False, False, False, False]
    assert [layer.num_weights for layer in layers] == [96, 24, 96, 192, 64, 24]


def test_the_first_layer_that_samples_meet_is_the_front_end_whatever_its_name():
    graph = parsed(GRAPH)
    for node in graph.node:
        node.name = node.name.replace("frontend", "wave")
    assert [layer.name for layer in layers_of(graph) if layer.front_end] == ["body.wave"]


@settings(max_examples=20)
@given(chosen=st.sets(st.sampled_from(LAYERS), min_size=1))
def test_exactly_the_chosen_layers_are_in_8_bits(quantizer, chosen):
    chosen &= set(CAN[quantizer.precision])
    if not chosen:
        return
    graph = quantizer.quantized(chosen)
    assert layers_in_8_bits(graph) == chosen
    before = {tensor.name: tensor for tensor in parsed(GRAPH).initializer}
    after = {tensor.name: tensor for tensor in parsed(graph).initializer}
    for layer in set(LAYERS) - chosen:
        weight = WEIGHTS[layer]
        if layer == "classifier" and quantizer.precision is Precision.INT8_DYNAMIC:
            values = onnx.numpy_helper.to_array(after["last_Transposed"]).T
        else:
            values = onnx.numpy_helper.to_array(after[weight])
        assert np.array_equal(values, onnx.numpy_helper.to_array(before[weight]))


def test_the_precisions_offer_what_they_promise(quantizer):
    assert tuple(layer.name for layer in quantizer.layers) == CAN[quantizer.precision]


def test_the_front_end_is_untouched_bit_for_bit(quantizer):
    graph = quantizer.quantized(CAN[quantizer.precision])
    before, after = parsed(GRAPH), parsed(graph)
    names = ("row", "body.frontend", "energy", "body.frontend_2", "floored", "log")
    nodes = {node.name: node for node in after.node}
    for node in before.node:
        if node.name in names:
            assert nodes[node.name].SerializeToString() == node.SerializeToString()
    weights = {tensor.name: tensor for tensor in after.initializer}
    for tensor in before.initializer:
        if tensor.name in ("kernel", "mel", "floor"):
            assert np.array_equal(
                onnx.numpy_helper.to_array(weights[tensor.name]), onnx.numpy_helper.to_array(tensor)
            )
    pcm = audio(3, seed=5)
    assert np.array_equal(features(graph, pcm), features(GRAPH, pcm))


def features(graph, pcm):
    model = onnx.load_from_string(graph)
    model.graph.output.append(onnx.helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, None))
    return Engine(model.SerializeToString()).run({"pcm": pcm})[FEATURES]


def test_no_weight_is_signed(quantizer):
    """Signed ones saturate on AVX2 without VNNI, which the machine of a test may not show."""
    kinds = set(stored(quantizer.quantized(CAN[quantizer.precision])).values())
    assert TensorProto.UINT8 in kinds
    assert TensorProto.INT8 not in kinds


def test_the_same_clips_give_the_same_file(quantizer):
    names = CAN[quantizer.precision]
    again = Quantizer(GRAPH, quantizer.precision, audio(16, seed=1))
    assert again.quantized(list(reversed(names))) == quantizer.quantized(names)
    louder = Quantizer(GRAPH, quantizer.precision, audio(16, seed=1, loudness=1.7))
    same = louder.quantized(names) == quantizer.quantized(names)
    assert same is (quantizer.precision is Precision.INT8_DYNAMIC)  # which learns no ranges


def test_ranges_are_those_of_the_loudest_and_the_softest_clip():
    """The features' scale is the span of their values over the clips, zero included, in steps."""
    clips = audio(16, seed=1)
    graph = Quantizer(GRAPH, Precision.INT8_STATIC, clips).quantized(["body.first"])
    values = features(GRAPH, clips)
    span = max(values.max(), 0.0) - min(values.min(), 0.0)
    scales = {tensor.name: tensor for tensor in parsed(graph).initializer}
    scale = onnx.numpy_helper.to_array(scales[f"{FEATURES}_scale"])
    assert scale == pytest.approx(span / 255, rel=1e-5)  # float32


def test_steps_are_not_spent_on_what_a_relu_drops():
    clips = audio(16, seed=1)
    model = onnx.load_from_string(GRAPH)
    model.graph.output.append(onnx.helper.make_tensor_value_info("a", TensorProto.FLOAT, None))
    values = Engine(model.SerializeToString()).run({"pcm": clips})["a"]
    assert values.min() < -900 < 0 < values.max()  # the bias of a channel that is always off
    graph = Quantizer(GRAPH, Precision.INT8_STATIC, clips).quantized(["body.first"])
    stored = {tensor.name: tensor for tensor in parsed(graph).initializer}
    scale = onnx.numpy_helper.to_array(stored["a_scale"])
    assert scale == pytest.approx(values.max() / 255, rel=1e-5)
    assert onnx.numpy_helper.to_array(stored["a_zero_point"]) == 0


def test_a_graph_in_8_bits_takes_any_batch_and_any_length(quantizer):
    engine = Engine(quantizer.quantized(CAN[quantizer.precision]))
    for batch, length in ((1, 401), (3, 1_777)):
        posteriors = engine.run({"pcm": np.resize(audio(3, seed=3), (batch, length))})["posteriors"]
        assert posteriors.shape == (batch, 3)
        assert np.abs(posteriors.sum(axis=1) - 1).max() < 1e-5


def test_nothing_is_quantized_where_nothing_is_named(quantizer):
    with pytest.raises(ExportError, match="no layer is left to quantize"):
        quantizer.quantized([])


def test_a_model_without_such_layers_is_refused():
    model = onnx.load_from_string(GRAPH)
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            node.name = f"frontend.{node.name}"
    with pytest.raises(ExportError, match="quantizes Gemm and MatMul after the front end"):
        Quantizer(model.SerializeToString(), Precision.INT8_DYNAMIC, audio(2, seed=1))


def test_ranges_need_clips():
    with pytest.raises(ExportError, match="there are no calibration clips"):
        Quantizer(GRAPH, Precision.INT8_STATIC, audio(0, seed=1))


def test_patterns_name_layers_and_a_wrong_one_is_told_what_there_is():
    layers = layers_of(parsed(GRAPH))
    assert matching(layers, ["body.d*", "classifier"]) == {"body.deep", "classifier"}
    assert matching(layers, []) == frozenset()
    with pytest.raises(ExportError, match=r"no layer is called 'body.depe'; .*body.deep.*'\*'"):
        matching(layers, ["body.depe"])
