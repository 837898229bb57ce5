"""The C program built with all warnings and both sanitizers, and small bundles to run it on."""

import dataclasses
import io
import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable
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

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demos" / "c"
LABELS = ("_silence_", 'j\u00e1 "\u0434\u0430" \u65e5\U0001f600', "no")
SANITIZED = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
ABSENT = ("no C compiler", "onnxruntime_c_api.h is in none of", "has no onnxruntime with")
Run = Callable[..., subprocess.CompletedProcess[str]]


def _run(*words: object) -> subprocess.CompletedProcess[str]:
    strange = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in strange}
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        timeout=120,
    )


def _make(*words: str, folder: Path = DEMO) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    return _run("make", "--no-print-directory", "-C", folder, f"PYTHON={sys.executable}", *words)


@pytest.fixture(scope="session")
def needs() -> None:
    """Skip where compiler, header or library are absent, for the reason that make gives."""
    checked = _make("check-needs")
    if checked.returncode and any(words in checked.stderr for words in ABSENT):
        pytest.skip(checked.stderr.splitlines()[0])
    assert checked.returncode == 0, checked.stderr


@pytest.fixture(scope="session")
def program(needs: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Build with all warnings and both sanitizers, and call what was built."""
    build = tmp_path_factory.mktemp("c-build")
    target = build / "otolite-stream"
    made = _make(f"BUILD={build}", f"CFLAGS={SANITIZED}", str(target))
    assert made.returncode == 0, made.stderr
    for flag in ("-std=c11", "-Wall", "-Wextra", "-Werror", SANITIZED):
        assert flag in made.stdout

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        done = _run(target, *words)
        assert "Sanitizer" not in done.stderr, done.stderr
        assert "runtime error" not in done.stderr, done.stderr
        assert done.returncode in (0, 1, 2), done
        return done

    return call


def _graph(window_samples: int) -> bytes:
    """softmax(pcm @ weights): every sample and its place count, so a shift by one is seen."""
    weights = np.random.default_rng(5).normal(0, 2, (window_samples, 3)).astype(np.float32)
    weights /= np.float32(np.sqrt(window_samples))  # so that no label takes all
    nodes = [
        helper.make_node("MatMul", ["pcm", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["posteriors"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "places",
        [helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["batch", window_samples])],
        [helper.make_tensor_value_info("posteriors", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(onnx.ModelProto.SerializeToString(model))


def _write_bundle(folder: Path, *, window_samples: int = 96, hop_samples: int = 36) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(_graph(window_samples))
    pcm = np.random.default_rng(3).uniform(-0.5, 0.5, (2, window_samples)).astype(np.float32)
    (folder / GOLDEN_FILE).touch()
    files = dict.fromkeys(("model.onnx", GOLDEN_FILE), "0" * 64)
    manifest = Manifest(
        name="places",
        labels=LABELS,
        streaming=Streaming(window_samples=window_samples, hop_samples=hop_samples),
        decision=Decision(keywords=LABELS[1:], threshold=0.5),
        files=files,
    )
    answer = _answer((folder / "model.onnx").read_bytes(), pcm)
    buffer = io.BytesIO()
    np.savez(buffer, pcm=pcm, posteriors=answer, tolerance=np.float64(1e-5))
    (folder / GOLDEN_FILE).write_bytes(buffer.getvalue())
    digests = {name: file_digest(folder / name) for name in files}
    sealed = seal(dataclasses.replace(manifest, files=digests))
    (folder / MANIFEST_FILE).write_text(sealed.to_json(), encoding="utf-8")
    return folder


def _answer(graph: bytes, pcm: np.ndarray) -> np.ndarray:
    """The graph's equation, written plainly in float64."""
    (weights,) = (
        onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(graph).graph.initializer
    )
    powers = np.exp(pcm.astype(np.float64) @ weights)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_bundle(tmp_path_factory.mktemp("bundle") / "places")


def _write_wav(
    path: Path, samples: np.ndarray, *, rate_hz: int = 16_000, channels: int = 1
) -> Path:
    with wave.open(str(path), "wb") as recording:
        recording.setnchannels(channels)
        recording.setsampwidth(2)
        recording.setframerate(rate_hz)
        recording.writeframes(samples.astype("<i2").tobytes())
    return path


def _noise(num_samples: int, seed: int = 0) -> np.ndarray:
    """All 16 bits are used, both ends included."""
    samples = np.random.default_rng(seed).integers(-32768, 32768, num_samples).astype(np.int16)
    samples[:2] = (-32768, 32767)[: len(samples)]
    return samples


@pytest.fixture(scope="session")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_wav(tmp_path_factory.mktemp("wav") / "noise.wav", _noise(1_000))


def _error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="session")
def run() -> Run:
    return _run


@pytest.fixture(scope="session")
def make() -> Run:
    """`make` in a folder, with this Python."""
    return _make


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    return _write_bundle


@pytest.fixture(scope="session")
def graph() -> Callable[[int], bytes]:
    return _graph


@pytest.fixture(scope="session")
def write_wav() -> Callable[..., Path]:
    return _write_wav


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    return _noise


@pytest.fixture(scope="session")
def error() -> Callable[[subprocess.CompletedProcess[str]], str]:
    """The one line of a call that failed."""
    return _error
