"""The TFLite engines: what they refuse, before anything could end the process."""

import contextlib
import copy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.backends import tflite
from runtime.backends._tflite_file import check
from runtime.backends.tflite import ENGINES, Engine, TFLiteRuntimeEngine
from runtime.faults import BundleFault, EngineMissing

flatbuffer_utils = pytest.importorskip("ai_edge_litert.tools.flatbuffer_utils")
schema = flatbuffer_utils.schema_fb
ADD, CUSTOM = 0, 32


def tiny_file(*, code=ADD, custom=None, values=(1.0, 2.0, 3.0), signature=True):
    """posteriors = pcm + values, written with LiteRT's own tools."""
    model = schema.ModelT()
    model.version = 3
    operator_code = schema.OperatorCodeT()
    operator_code.builtinCode, operator_code.deprecatedBuiltinCode = code, min(code, 127)
    operator_code.customCode = custom
    model.operatorCodes = [operator_code]
    buffers = [schema.BufferT(), schema.BufferT()]
    buffers[1].data = np.frombuffer(np.array(values, dtype="<f4").tobytes(), dtype=np.uint8)
    model.buffers = buffers
    graph = schema.SubGraphT()
    graph.tensors = []
    for name, buffer in (("pcm", 0), ("values", 1), ("posteriors", 0)):
        tensor = schema.TensorT()
        tensor.name, tensor.buffer, tensor.shape = name.encode(), buffer, [1, 3]
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1], [2]
    if code == ADD:
        operator.builtinOptionsType = schema.BuiltinOptions.AddOptions
        operator.builtinOptions = schema.AddOptionsT()
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [2]
    model.subgraphs = [graph]
    if signature:
        definition = schema.SignatureDefT()
        definition.signatureKey, definition.subgraphIndex = b"serving_default", 0
        definition.inputs, definition.outputs = [entry("pcm", 0)], [entry("posteriors", 2)]
        model.signatureDefs = [definition]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def entry(name, number):
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name.encode(), number
    return made


FILE = tiny_file()


def test_the_engine_computes_and_its_answers_stay_the_callers():
    engine = Engine(FILE, threads=2)
    assert [(t.name, t.shape, t.dtype) for t in engine.inputs] == [("pcm", (1, 3), "float32")]
    assert [(t.name, t.shape, t.dtype) for t in engine.outputs] == [
        ("posteriors", (1, 3), "float32")
    ]
    assert engine.faces == (engine.inputs,)
    first = engine.run({"pcm": np.zeros((1, 3), dtype=np.float32)})["posteriors"]
    second = engine.run({"pcm": np.ones((1, 3), dtype=np.float32)})["posteriors"]
    assert first.tolist() == [[1.0, 2.0, 3.0]]
    assert second.tolist() == [[2.0, 3.0, 4.0]]


@pytest.mark.parametrize(
    "feeds",
    [
        {"pcm": np.zeros((1, 4), dtype=np.float32)},
        {"pcm": np.zeros((2, 3), dtype=np.float32)},
        {"pcm": np.zeros((1, 3), dtype=np.float64)},
        {"audio": np.zeros((1, 3), dtype=np.float32)},
        {"pcm": np.zeros((1, 3), dtype=np.float32), "more": np.zeros(1, dtype=np.float32)},
        {},
    ],
    ids=["samples", "batch", "type", "name", "too many", "none"],
)
def test_inputs_that_do_not_fit_are_refused_in_words(feeds):
    with pytest.raises(BundleFault, match=r"it takes float32 \{'pcm': \(1, 3\)\}"):
        Engine(FILE).run(feeds)


def two_signatures():
    """The same graph under two names, which the engine calls by name and not by numbers."""
    model = flatbuffer_utils.read_model_from_bytearray(FILE)
    again = copy.deepcopy(model.signatureDefs[0])
    again.signatureKey = b"again"
    model.signatureDefs.append(again)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


@pytest.mark.parametrize("file", [FILE, two_signatures()], ids=["numbers", "names"])
def test_a_bound_run_reads_and_writes_the_callers_memory(file):
    engine = Engine(file)
    pcm, posteriors = (np.zeros((1, 3), dtype=np.float32) for _ in range(2))
    run = engine.bind({"pcm": pcm}, {"posteriors": posteriors})
    for value in (0.0, 1.0):
        pcm[:] = value
        run()
        assert posteriors.tolist() == [[value + 1.0, value + 2.0, value + 3.0]]


@pytest.mark.parametrize("size", [(4, 3), (3, 4)], ids=["in", "out"])
def test_a_bound_run_of_other_shapes_is_refused_in_words(size):
    pcm, posteriors = (np.zeros((1, one), dtype=np.float32) for one in size)
    with pytest.raises(BundleFault, match=r"other arrays than .*\(1, 4\)"):
        Engine(FILE).bind({"pcm": pcm}, {"posteriors": posteriors})


def test_nan_weights_come_out_as_nan_for_the_stream_to_refuse():
    engine = Engine(tiny_file(values=(np.nan, 0.0, 0.0)))
    answer = engine.run({"pcm": np.zeros((1, 3), dtype=np.float32)})["posteriors"]
    assert np.isnan(answer[0, 0])


def test_operators_that_are_not_tflites_own_are_refused_by_name():
    with pytest.raises(BundleFault, match="not TFLite's own: 'Strange'"):
        Engine(tiny_file(code=CUSTOM, custom=b"Strange"))
    with pytest.raises(BundleFault, match="cannot load the model"):
        Engine(tiny_file(code=9_999))


def test_a_file_that_names_no_inputs_is_refused():
    with pytest.raises(BundleFault, match="names no inputs and outputs"):
        Engine(tiny_file(signature=False))


@pytest.mark.parametrize("model", [b"", b"no graph", b"\x08\x09" * 50, b"PK\x03\x04TFL2" * 9])
def test_bytes_that_are_no_tflite_file_are_refused(model):
    with pytest.raises(BundleFault, match=r"not a \.tflite file"):
        Engine(model)


@settings(max_examples=300, deadline=None)
@given(
    length=st.integers(8, len(FILE)),
    changes=st.lists(st.tuples(st.integers(0, len(FILE) - 1), st.integers(0, 255)), max_size=4),
)
def test_a_cut_or_changed_file_is_read_or_refused_and_never_followed_out(length, changes):
    damaged = bytearray(FILE)
    for place, value in changes:
        damaged[place] = value
    damaged[4:8] = b"TFL3"
    with contextlib.suppress(BundleFault):  # anything else would be a reader led astray
        check(bytes(damaged[:length]))


def test_every_file_that_is_cut_off_is_refused():
    # the last bytes of a flatbuffer are its first table's, which every reader needs
    for length in range(8, len(FILE) - 16, 7):
        with pytest.raises(BundleFault):
            Engine(FILE[:length])


@pytest.mark.parametrize("change", ["tensor", "buffer", "code", "graph"])
def test_numbers_of_what_is_not_there_are_refused(change):
    model = flatbuffer_utils.read_model_from_bytearray(FILE)
    if change == "tensor":
        model.subgraphs[0].operators[0].inputs = [0, 77]
    elif change == "buffer":
        model.subgraphs[0].tensors[0].buffer = 9
    elif change == "code":
        model.subgraphs[0].operators[0].opcodeIndex = 5
    else:
        model.signatureDefs[0].subgraphIndex = 3
    with pytest.raises(BundleFault, match=r"damaged: .* is number"):
        Engine(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


def test_without_any_engine_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(EngineMissing, match=r'pip install "ai-edge-litert'):
        Engine(FILE)
    monkeypatch.setattr(tflite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineMissing, match="needs ai-edge-litert or tflite-runtime"):
        TFLiteRuntimeEngine(FILE)


def test_tflite_runtime_beside_a_new_numpy_is_passed_over(monkeypatch):
    monkeypatch.setattr(tflite.importlib.util, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(tflite.np, "__version__", "2.4.0")
    with pytest.raises(EngineMissing, match=r"needs numpy older than 2 and here is 2\.4\.0"):
        TFLiteRuntimeEngine(FILE)
    assert list(ENGINES) == [Engine, TFLiteRuntimeEngine]
