"""Tiny bundles and recordings: a "keyword" here is a stretch of positive or negative offset."""

import io
import json
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

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
    Tensor,
    file_digest,
    seal,
)
from runtime.faults import BundleFault
from runtime.stream import Model, load

sys.path.insert(0, str(Path(__file__).parent))  # tiny_steps.py, tiny_phones.py

LABELS = ("_silence_", "yes", "no")
WINDOW_SAMPLES = 800
HOP_SAMPLES = 200
WEIGHTS = np.array([[0.0, 40.0, -40.0], [-30.0, 0.0, 0.0]], dtype=np.float32)
BIAS = np.array([3.0, 0.0, 0.0], dtype=np.float32)


def _expected_posteriors(pcm: np.ndarray) -> np.ndarray:
    """The tiny model's equation, written plainly in float64: (batch, samples) -> (batch, 3)."""
    features = np.stack([pcm.mean(axis=1), np.abs(pcm).mean(axis=1)], axis=1)
    powers = np.exp(features.astype(np.float64) @ WEIGHTS + BIAS)
    return powers / powers.sum(axis=1, keepdims=True)


def _onnx_bytes(samples: str | int = "samples") -> bytes:
    """softmax([mean(pcm), mean(|pcm|)] @ WEIGHTS + BIAS) as an ONNX graph."""
    nodes = [
        helper.make_node("Abs", ["pcm"], ["absolute"]),
        helper.make_node("ReduceMean", ["pcm", "axes"], ["mean"], keepdims=1),
        helper.make_node("ReduceMean", ["absolute", "axes"], ["loudness"], keepdims=1),
        helper.make_node("Concat", ["mean", "loudness"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["posteriors"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "offset_keywords",
        [helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["batch", samples])],
        [helper.make_tensor_value_info("posteriors", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor("weights", TensorProto.FLOAT, WEIGHTS.shape, WEIGHTS.ravel()),
            helper.make_tensor("bias", TensorProto.FLOAT, BIAS.shape, BIAS),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _golden_bytes(**changes: Any) -> bytes:
    pcm = np.random.default_rng(3).uniform(-0.5, 0.5, (2, WINDOW_SAMPLES)).astype(np.float32)
    arrays = {
        "pcm": pcm,
        "posteriors": _expected_posteriors(pcm).astype(np.float32),
        "tolerance": np.float32(1e-5),
    }
    arrays.update(changes)
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def _manifest(files: Mapping[str, str], **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "name": "offset keywords",
        "labels": LABELS,
        "streaming": Streaming(window_samples=WINDOW_SAMPLES, hop_samples=HOP_SAMPLES),
        "decision": Decision(
            keywords=("yes", "no"),
            threshold=0.6,
            smoothing_windows=2,
            patience=2,
            refractory_samples=1600,
        ),
        "files": files,
        "provenance": {"recipe": "made in a test"},
        "measured": {"accuracy": 0.5},
    }
    return seal(Manifest(**(values | changes)))


def _make_bundle(folder: Path, *, golden: bytes | None = None, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(_onnx_bytes())
    (folder / GOLDEN_FILE).write_bytes(_golden_bytes() if golden is None else golden)
    files = {name: file_digest(folder / name) for name in ("model.onnx", GOLDEN_FILE)}
    (folder / MANIFEST_FILE).write_text(_manifest(files, **changes).to_json(), encoding="utf-8")
    return folder


def _wav_bytes(
    samples: np.ndarray,
    rate_hz: int = 16000,
    *,
    bits: int = 16,
    code: int = 1,
    extra: bytes = b"",
    data_size: int | None = None,
    riff_size: int | None = None,
) -> bytes:
    """A WAV of (frames,) or (frames, channels) floats in [-1, 1]; sizes may be made to lie."""
    frames = samples.reshape(len(samples), -1)
    if code == 3:
        data = frames.astype(f"<f{bits // 8}").tobytes()
    else:
        top = 2 ** (bits - 1)
        integers = np.clip(np.round(frames.astype(np.float64) * top), -top, top - 1).astype("<i8")
        integers += 128 if bits == 8 else 0
        data = integers.view(np.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()
    num_channels = frames.shape[1]
    frame_bytes = num_channels * bits // 8
    form = struct.pack(
        "<HHIIHH", code, num_channels, rate_hz, rate_hz * frame_bytes, frame_bytes, bits
    )
    size = len(data) if data_size is None else data_size
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + extra
    body += b"data" + struct.pack("<I", size) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def _speech(*words: tuple[float, str], duration_s: float, rate_hz: int = 16000) -> np.ndarray:
    """Silence with a "word" of 0.1 s from each given second on."""
    waveform = np.zeros(round(duration_s * rate_hz), dtype=np.float32)
    for start_s, label in words:
        start = round(start_s * rate_hz)
        waveform[start : start + rate_hz // 10] = {"yes": 0.5, "no": -0.5}[label]
    return waveform


class FakeEngine:
    """Posteriors from sums over parts of the window: every sample and its place count."""

    inputs = (Tensor(name="pcm", shape=("batch", "samples"), dtype="float32"),)
    outputs = (Tensor(name="posteriors", shape=("batch", 3), dtype="float32"),)
    faces = (inputs,)
    version = "fake 1.0"

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        pcm = feeds["pcm"].astype(np.float64)
        places = np.arange(1, pcm.shape[1] + 1)
        powers = np.exp([0.0, np.sin(pcm[0] @ places), np.cos(3.0 * pcm[0] @ places)])
        return {"posteriors": (powers / powers.sum())[None].astype(np.float32)}


@contextmanager
def _at_most(mib: float) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= mib * 2**20
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="session")
def at_most() -> Callable[[float], AbstractContextManager[None]]:
    """`with at_most(4):` Python and numpy together never hold more than 4 MiB at a time."""
    return _at_most


def _read_or_refused(read: Callable[[], Any], *, mib: float = 4) -> Any:
    value, refusal = None, ""
    with _at_most(mib):
        try:
            value = read()
        except BundleFault as fault:
            refusal = str(fault)
    assert refusal.isprintable()
    return value


@pytest.fixture(scope="session")
def read_or_refused() -> Callable[..., Any]:
    """What was read, or None: refused in one line; in at most 4 MiB of memory either way."""
    return _read_or_refused


@pytest.fixture(scope="session")
def expected_posteriors() -> Callable[[np.ndarray], np.ndarray]:
    return _expected_posteriors


@pytest.fixture(scope="session")
def onnx_bytes() -> Callable[..., bytes]:
    return _onnx_bytes


@pytest.fixture(scope="session")
def golden_bytes() -> Callable[..., bytes]:
    return _golden_bytes


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., Manifest]:
    return _manifest


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    return _make_bundle


@pytest.fixture(scope="session")
def wav_bytes() -> Callable[..., bytes]:
    return _wav_bytes


@pytest.fixture(scope="session")
def speech() -> Callable[..., np.ndarray]:
    return _speech


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle that tests read and never change."""
    return _make_bundle(tmp_path_factory.mktemp("bundles") / "keywords")


@pytest.fixture(scope="session")
def model(bundle: Path) -> Model:
    return load(bundle)


@pytest.fixture(scope="session")
def manifest_raw(bundle: Path) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads((bundle / MANIFEST_FILE).read_text(encoding="utf-8"))
    return raw


@pytest.fixture(scope="session")
def fake_model() -> Model:
    """Without onnxruntime; windows of 12 samples every 5, so that a hop does not divide them."""
    zeros = "0" * 64
    manifest = _manifest(
        {"model.fake": zeros, GOLDEN_FILE: zeros},
        streaming=Streaming(window_samples=12, hop_samples=5),
        decision=Decision(
            keywords=("yes", "no"),
            threshold=0.4,
            smoothing_windows=2,
            patience=2,
            refractory_samples=20,
        ),
    )
    return Model(manifest=manifest, engine=FakeEngine())
