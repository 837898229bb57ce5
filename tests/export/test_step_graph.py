"""A step's graph with flat frames is the same function of the same tensors, in fewer operations."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.step_graph import with_flat_frames
from export.targets.onnx import layers
from runtime.backends.onnx import Engine


def model(nodes, constants, shapes, outputs):
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    graph = helper.make_graph(
        nodes,
        "step",
        [values.pop("pcm")],
        [values.pop(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        value_info=list(values.values()),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


@pytest.fixture
def linear():
    """A norm, a layer with a bias, another whose product leaves too, and heads made of both."""
    rng = np.random.default_rng(0)

    def constant(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    nodes = [
        helper.make_node("LayerNormalization", ["pcm", "gain", "shift"], ["normed"], axis=2),
        helper.make_node("MatMul", ["normed", "up"], ["product"], name="body.up"),
        helper.make_node("Add", ["up_bias", "product"], ["wide"]),
        helper.make_node("Gelu", ["wide"], ["active"]),
        helper.make_node("MatMul", ["active", "down"], ["narrow"], name="body.down"),
        helper.make_node("Add", ["narrow", "down_bias"], ["moved"]),
        helper.make_node("Add", ["moved", "pcm"], ["hidden"]),
        helper.make_node("Reshape", ["wide", "heads"], ["parted"]),
        helper.make_node("Transpose", ["hidden"], ["turned"], perm=[0, 2, 1]),
    ]
    constants = {
        "gain": constant(4),
        "shift": constant(4),
        "up": constant(4, 6),
        "up_bias": constant(6),
        "down": constant(6, 4),
        "down_bias": constant(4),
        "heads": np.array([1, 3, 2, 3]),
    }
    shapes = dict.fromkeys(("pcm", "normed", "narrow", "moved", "hidden"), (1, 3, 4))
    shapes |= dict.fromkeys(("product", "wide", "active"), (1, 3, 6))
    shapes |= {"parted": (1, 3, 2, 3), "turned": (1, 4, 3)}
    return model(nodes, constants, shapes, ["parted", "turned", "narrow"])


def test_the_same_answers_by_one_operation_a_layer(linear):
    flat = with_flat_frames(linear)
    onnx.checker.check_model(flat, full_check=True)
    pcm = np.random.default_rng(1).standard_normal((1, 3, 4)).astype(np.float32)
    wanted, found = (Engine(one.SerializeToString()).run({"pcm": pcm}) for one in (linear, flat))
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)  # float32 sums
    operators = Counter(node.op_type for node in flat.graph.node)
    assert operators["Gemm"] == 1  # the other product leaves without its bias
    assert operators["MatMul"] == 1
    assert operators["Reshape"] == 4  # pcm, the heads as before, and two that leave


def test_layers_keep_their_names(linear):
    flat = with_flat_frames(linear)
    named = [layer.name for layer in layers(flat.SerializeToString())]
    assert named == ["body.up", "body.down"]


def test_what_mixes_the_batch_in_is_left_alone():
    nodes = [
        helper.make_node("MatMul", ["pcm", "left"], ["scores"], name="scores"),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=1),
    ]
    constants = {"left": np.ones((1, 4, 4), dtype=np.float32)}  # of each recording its own
    shapes = {"pcm": (1, 3, 4), "scores": (1, 3, 4), "weights": (1, 3, 4)}
    step = model(nodes, constants, shapes, ["weights"])
    flat = with_flat_frames(step)
    assert [node.op_type for node in flat.graph.node] == ["MatMul", "Softmax"]


@pytest.fixture
def taps():
    """Rows of what was heard, picked, parted and put side by side before a layer reads them."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Slice", ["pcm", "one", "three", "over_frames"], ["newest"]),
        helper.make_node("Gather", ["pcm", "places"], ["picked"], axis=1),
        helper.make_node("Split", ["picked", "halves"], ["first", "second"], axis=1),
        helper.make_node("Concat", ["first", "second", "newest"], ["beside"], axis=-1),
        helper.make_node("MatMul", ["beside", "weight"], ["hidden"], name="body.layer"),
        helper.make_node("Concat", ["hidden", "newest"], ["heard"], axis=1),
        helper.make_node("Reshape", ["heard", "as_one"], ["row"]),
        helper.make_node("Reshape", ["row", "as_four"], ["next"]),
        helper.make_node("Gather", ["hidden", "last"], ["vector"], axis=1),
    ]
    constants = {
        "one": np.array([1]),
        "three": np.array([3]),
        "over_frames": np.array([1]),
        "places": np.array([2, 0, 1, 2]),
        "halves": np.array([2, 2]),
        "weight": rng.standard_normal((12, 4)).astype(np.float32),
        "as_one": np.array([1, 16]),
        "as_four": np.array([1, 2, 8]),
        "last": np.array(-1),
    }
    shapes = {"pcm": (1, 3, 4), "picked": (1, 4, 4), "beside": (1, 2, 12), "heard": (1, 4, 4)}
    shapes |= dict.fromkeys(("newest", "first", "second", "hidden"), (1, 2, 4))
    shapes |= {"row": (1, 16), "next": (1, 2, 8), "vector": (1, 4)}
    return model(nodes, constants, shapes, ["next", "vector"])


def test_rows_are_picked_and_joined_without_the_batch(taps):
    flat = with_flat_frames(taps)
    onnx.checker.check_model(flat, full_check=True)
    pcm = np.random.default_rng(1).standard_normal((1, 3, 4)).astype(np.float32)
    wanted, found = (Engine(one.SerializeToString()).run({"pcm": pcm}) for one in (taps, flat))
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)  # float32 sums
    operators = Counter(node.op_type for node in flat.graph.node)
    # pcm, one for the two in a row, and the vector's, which is picked with the batch
    assert operators["Reshape"] == 3
    assert operators["Concat"] == 2


def test_what_works_along_the_batch_keeps_it():
    nodes = [
        helper.make_node("MatMul", ["pcm", "weight"], ["hidden"], name="body.layer"),
        helper.make_node("Concat", ["hidden", "hidden"], ["twice"], axis=0),
        helper.make_node("Slice", ["hidden", "none", "two", "both"], ["corner"]),
    ]
    constants = {
        "weight": np.ones((4, 4), dtype=np.float32),
        "none": np.array([0, 0]),
        "two": np.array([2, 2]),
        "both": np.array([1, 2]),
    }
    shapes = {"pcm": (1, 3, 4), "hidden": (1, 3, 4), "twice": (2, 3, 4), "corner": (1, 2, 2)}
    flat = with_flat_frames(model(nodes, constants, shapes, ["twice", "corner"]))
    onnx.checker.check_model(flat, full_check=True)
    answers = Engine(flat.SerializeToString()).run({"pcm": np.ones((1, 3, 4), np.float32)})
    assert {name: value.shape for name, value in answers.items()} == {
        "twice": (2, 3, 4),
        "corner": (1, 2, 2),
    }


def test_the_model_given_stays_as_it_is(linear):
    before = linear.SerializeToString()
    with_flat_frames(linear)
    assert linear.SerializeToString() == before
