"""A tiny model with states: a comb filter, then a leaky mean of its output and of its loudness.

Three times the same, apart from one another: the equation over a whole recording in float64, an
engine in numpy that steps, and an ONNX graph that steps.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from runtime.bundle import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    Decision,
    Manifest,
    State,
    Streaming,
    Tensor,
    file_digest,
    seal,
)
from runtime.stream import Model

LABELS = ("_silence_", "yes", "no")
TAIL = 3
LEAK = 0.25
"""Initial value of the leaky means: not zero, so that it counts."""
WEIGHTS = np.array([[0.0, 40.0, -40.0], [-30.0, 0.0, 0.0]], dtype=np.float32)
BIAS = np.array([3.0, 0.0, 0.0], dtype=np.float32)
STATES = (
    State(name="tail", shape=(1, TAIL)),
    State(name="leak", shape=(1, 2), initial=LEAK),
)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in the logits' own precision."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def expected(waveform: np.ndarray, hop: int) -> np.ndarray:
    """(samples,) to (answers, 3): the whole recording at once, with no state in sight."""
    padded = np.concatenate([np.zeros(TAIL), waveform.astype(np.float64)])
    comb = 0.5 * (padded[TAIL:] + padded[:-TAIL])
    hops = comb[: len(comb) // hop * hop].reshape(-1, hop)
    features = np.stack([hops.mean(axis=1), np.abs(hops).mean(axis=1)], axis=1)
    answers = np.empty((len(hops), 3))
    for number in range(len(hops)):
        ages = np.arange(number, -1, -1)
        leak = (0.5 ** (ages + 1)) @ features[: number + 1] + 0.5 ** (number + 1) * LEAK
        answers[number] = softmax(leak @ WEIGHTS.astype(np.float64) + BIAS)
    return answers


class StepEngine:
    """In numpy; it writes over its inputs' successors at every run, as some engines do."""

    version = "steps 1.0"

    def __init__(self, hop: int) -> None:
        self.hop = hop
        self.inputs = faces(hop)[0]
        self.outputs = faces(hop)[1]
        self.faces = (self.inputs,)
        self.runs = 0
        self._buffers = {t.name: np.zeros(t.shape, dtype=np.float32) for t in self.outputs}

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.runs += 1
        assert {name: values.shape for name, values in feeds.items()} == {
            tensor.name: tensor.shape for tensor in self.inputs
        }
        signal = np.concatenate([feeds["tail"], feeds["pcm"]], axis=1)
        comb = 0.5 * (signal[:, TAIL:] + signal[:, :-TAIL])
        features = np.stack([comb.mean(axis=1), np.abs(comb).mean(axis=1)], axis=1)
        leak = 0.5 * feeds["leak"] + 0.5 * features
        self._buffers["posteriors"][:] = softmax(leak @ WEIGHTS + BIAS)
        self._buffers["tail_next"][:] = signal[:, -TAIL:]
        self._buffers["leak_next"][:] = leak
        return self._buffers


def faces(hop: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and outputs of a step."""
    shapes = {"pcm": (1, hop)} | {state.name: state.shape for state in STATES}
    given = {"posteriors": (1, 3)} | {f"{state.name}_next": state.shape for state in STATES}
    made = [
        tuple(Tensor(name=name, shape=shape, dtype="float32") for name, shape in side.items())
        for side in (shapes, given)
    ]
    return made[0], made[1]


def step_graph(hop: int, *, tail: int = TAIL, weights: np.ndarray = WEIGHTS) -> bytes:
    """The step in ONNX; another tail makes a graph that is not the manifest's."""
    nodes = [
        helper.make_node("Concat", ["tail", "pcm"], ["signal"], axis=1),
        helper.make_node("Slice", ["signal", "tail_length", "end", "one"], ["late"]),
        helper.make_node("Slice", ["signal", "zero", "minus_tail", "one"], ["early"]),
        helper.make_node("Slice", ["signal", "minus_tail", "end", "one"], ["tail_next"]),
        helper.make_node("Add", ["late", "early"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["comb"]),
        helper.make_node("Abs", ["comb"], ["loud"]),
        helper.make_node("ReduceMean", ["comb", "one"], ["mean"], keepdims=1),
        helper.make_node("ReduceMean", ["loud", "one"], ["loudness"], keepdims=1),
        helper.make_node("Concat", ["mean", "loudness"], ["features"], axis=1),
        helper.make_node("Add", ["leak", "features"], ["both"]),
        helper.make_node("Mul", ["both", "half"], ["leak_next"]),
        helper.make_node("Gemm", ["leak_next", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["posteriors"], axis=1),
    ]
    integers = {
        "zero": 0,
        "one": 1,
        "tail_length": tail,
        "minus_tail": -tail,
        "end": np.iinfo(np.int64).max,
    }
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in integers.items()
    ]
    constants += [
        helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.ravel())
        for name, values in (
            ("half", np.array([0.5], dtype=np.float32)),
            ("weights", weights),
            ("bias", BIAS),
        )
    ]
    inputs, outputs = faces(hop)
    values = [
        [
            helper.make_tensor_value_info(
                tensor.name,
                TensorProto.FLOAT,
                [1, tail] if tensor.name.startswith("tail") else tensor.shape,
            )
            for tensor in side
        ]
        for side in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "leaky_steps", *values, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def manifest(
    files: Mapping[str, str], *, hop: int = 200, window: int = 800, **changes: Any
) -> Manifest:
    """Sealed; the model's own but for the changes."""
    values: dict[str, Any] = {
        "name": "leaky keywords",
        "labels": LABELS,
        "streaming": Streaming(form="incremental", window_samples=window, hop_samples=hop),
        "decision": Decision(keywords=("yes", "no"), threshold=0.6, smoothing_windows=2),
        "states": STATES,
        "files": files,
    }
    return seal(Manifest(**(values | changes)))


def fake_steps(hop: int = 5, window: int = 12) -> Model:
    """Without onnxruntime."""
    zeros = "0" * 64
    decision = Decision(keywords=("yes", "no"), threshold=0.4, smoothing_windows=2, patience=2)
    made = manifest(
        {"model.fake": zeros, GOLDEN_FILE: zeros}, hop=hop, window=window, decision=decision
    )
    return Model(manifest=made, engine=StepEngine(hop))


def golden(hop: int = 200, *, answers: int = 6, **changes: Any) -> bytes:
    """golden.npz; an array that is None is left out."""
    pcm = np.random.default_rng(3).uniform(-0.5, 0.5, (1, answers * hop)).astype(np.float32)
    arrays = {
        "pcm": pcm,
        "posteriors": expected(pcm[0], hop).astype(np.float32),
        "tolerance": np.float32(1e-5),
    }
    arrays.update(changes)
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def write_bundle(folder: Path, files: Mapping[str, bytes] | None = None, **changes: Any) -> Path:
    """A whole bundle; files in place of model.onnx and golden.npz, or beside them."""
    folder.mkdir(parents=True)
    contents = {"model.onnx": step_graph(200), GOLDEN_FILE: golden(), **(files or {})}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    digests = {name: file_digest(folder / name) for name in contents}
    text = manifest(digests, **changes).to_json()
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    return folder
