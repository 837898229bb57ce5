"""A spotter of tones as a real bundle, words to spot, and long audio with what it mistakes."""

import io
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.bundle import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    Decision,
    Manifest,
    Streaming,
    file_digest,
    seal,
)
from runtime.stream import engine_for

sys.path.insert(0, str(Path(__file__).parent))

from tiny_corpus import RATE, write_corpus

LABELS = ("_silence_", "no", "yes")
# Logits of (mean |sample|, mean |difference of neighbours|): "no" is a low tone, "yes" a high one.
WEIGHTS = np.array([[0.0, 100.0, -20.0], [0.0, -130.0, 150.0]], dtype=np.float32)
BIAS = np.array([11.0, 0.0, 0.0], dtype=np.float32)
TONES_HZ = {"no": 300.0, "yes": 1500.0, "other": 5000.0}


def _graph() -> bytes:
    constants = {
        "zero": [0], "one": [1], "last": [-1], "end": [1 << 30],
    }  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["pcm", "one", "end", "one"], ["later"]),
        helper.make_node("Slice", ["pcm", "zero", "last", "one"], ["earlier"]),
        helper.make_node("Sub", ["later", "earlier"], ["change"]),
        helper.make_node("Abs", ["pcm"], ["loud"]),
        helper.make_node("Abs", ["change"], ["fast"]),
        helper.make_node("ReduceMean", ["loud", "one"], ["loudness"], keepdims=1),
        helper.make_node("ReduceMean", ["fast", "one"], ["pace"], keepdims=1),
        helper.make_node("Concat", ["loudness", "pace"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["posteriors"], axis=1),
    ]
    # Slices run along the samples: axis 1 is named by the same constant as a step of one.
    for node in nodes[:2]:
        node.input[:] = [*node.input[:3], "one", "one"]
    tensors = [helper.make_tensor(n, TensorProto.INT64, [1], v) for n, v in constants.items()]
    tensors += [
        helper.make_tensor("weights", TensorProto.FLOAT, WEIGHTS.shape, WEIGHTS.ravel()),
        helper.make_tensor("bias", TensorProto.FLOAT, BIAS.shape, BIAS),
    ]
    graph = helper.make_graph(
        nodes,
        "tones",
        [helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["batch", "samples"])],
        [helper.make_tensor_value_info("posteriors", TensorProto.FLOAT, ["batch", 3])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """A bundle of a test's own, which it may change."""
    folder = tmp_path / "tones.bundle"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(_graph())
    pcm = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4000)).astype(np.float32)
    engine = engine_for("model.onnx", _graph(), threads=1)
    golden = io.BytesIO()
    answers = engine.run({"pcm": pcm})["posteriors"]
    np.savez(golden, pcm=pcm, posteriors=answers, tolerance=np.float32(1e-5))
    (folder / GOLDEN_FILE).write_bytes(golden.getvalue())
    manifest = Manifest(
        name="tones",
        labels=LABELS,
        streaming=Streaming(window_samples=4000, hop_samples=800),
        decision=Decision(
            keywords=("yes", "no"), threshold=0.6, smoothing_windows=2, refractory_samples=4000
        ),
        files={name: file_digest(folder / name) for name in ("model.onnx", GOLDEN_FILE)},
    )
    (folder / MANIFEST_FILE).write_text(seal(manifest).to_json(), encoding="utf-8")
    return folder


def tone(hz: float, level: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """In hiss."""
    time = np.arange(round(seconds * RATE)) / RATE
    signal = level * np.sin(2 * np.pi * hz * time) + rng.normal(0, 0.02, len(time))
    return signal.astype(np.float32)


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of a second with a word of 0.4 s in the middle: 6 of each for testing, 3 valid."""
    rng = np.random.default_rng(1)
    rows, audio = [], {}
    for number in range(27):
        label = ("no", "yes", "other")[number % 3]
        clip = rng.normal(0, 0.005, RATE).astype(np.float32)
        start = int(rng.integers(3000, 6000))
        clip[start : start + 6400] += tone(TONES_HZ[label], rng.uniform(0.35, 0.5), 0.4, rng)
        name = f"{number:02d}.wav"
        audio[name] = clip
        rows.append((name, label, f"s{number % 4}", "test" if number < 18 else "valid"))
    return write_corpus(tmp_path_factory.mktemp("data") / "words", rows, audio)


@pytest.fixture(scope="session")
def long_audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings of 10 s by as many speakers: tones that come near to a keyword's."""
    rng = np.random.default_rng(2)
    rows, audio = [], {}
    for number in range(12):
        waveform = rng.normal(0, 0.01, 10 * RATE).astype(np.float32)
        for place in range(8):
            hz = float(rng.choice([300.0, 1500.0])) * rng.uniform(0.9, 1.1)
            start = RATE // 2 + place * (RATE + RATE // 10)
            waveform[start : start + 6400] += tone(hz, rng.uniform(0.1, 0.36), 0.4, rng)
        name = f"{number:02d}.flac"
        audio[name] = waveform
        rows.append((name, "", f"s{number}", "test" if number % 2 else "train"))
    return write_corpus(tmp_path_factory.mktemp("data") / "long", rows, audio)


@pytest.fixture(scope="session")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A noise, and the response of a room that is only a wall behind the microphone."""
    rng = np.random.default_rng(3)
    wall = np.zeros(2000, dtype=np.float32)
    wall[[100, 900]] = 0.9, 0.3
    audio = {"hiss.wav": rng.normal(0, 0.1, 2 * RATE).astype(np.float32), "wall.wav": wall}
    rows = [("hiss.wav", "noise", "", "test"), ("wall.wav", "rir", "", "test")]
    return write_corpus(tmp_path_factory.mktemp("data") / "noises", rows, audio)
