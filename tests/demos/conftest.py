"""The C program built with all warnings and both sanitizers, and small bundles to run it on."""

import io
import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime import replay
from runtime.bundle import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    Decision,
    Manifest,
    State,
    Streaming,
    file_digest,
    seal,
)
from runtime.stream import load

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demos" / "c"
FADING = 2.0
"""A state's initial value: not zero, so that it counts."""
LABELS = ("_silence_", 'j\u00e1 "\u0434\u0430" \u65e5\U0001f600', "no")
SANITIZED = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
ABSENT = ("no C compiler", "onnxruntime_c_api.h is in none of", "has no onnxruntime with")
Run = Callable[..., subprocess.CompletedProcess[str]]
Table = Callable[[str], tuple[list[str], list[int], list[str], np.ndarray]]


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


def _weights(window_samples: int) -> np.ndarray:
    weights = np.random.default_rng(5).normal(0, 2, (window_samples, 3)).astype(np.float32)
    weights /= np.float32(np.sqrt(window_samples))  # so that no label takes all
    return weights


def _graph(window_samples: int) -> bytes:
    """softmax(pcm @ weights): every sample and its place count, so a shift by one is seen."""
    weights = _weights(window_samples)
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


def _step_graph(window_samples: int, hop_samples: int) -> bytes:
    """`_graph` hop by hop: one state holds what the window needs, one fades, one stays."""
    weights = _weights(window_samples)
    kept = window_samples - hop_samples
    nodes = [
        helper.make_node("Concat", ["heard", "pcm"], ["window"], axis=1),
        helper.make_node("Slice", ["window", "hop", "end", "one"], ["heard_next"]),
        helper.make_node("MatMul", ["window", "weights"], ["places"]),
        helper.make_node("Identity", ["still"], ["still_next"]),
        helper.make_node("Mul", ["fading", "half"], ["fading_next"]),
        helper.make_node("Squeeze", ["fading", "one"], ["faded"]),
        helper.make_node("Mul", ["faded", "first"], ["bias"]),  # a softmax ignores what all share
        helper.make_node("Add", ["places", "bias"], ["biased"]),
        helper.make_node("Add", ["biased", "still"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["posteriors"], axis=1),
    ]
    states = {"heard": [1, kept], "fading": [1, 1, 3], "still": [1, 3]}
    inputs = {"pcm": [1, hop_samples], **states}
    outputs = {"posteriors": [1, 3], **{f"{name}_next": shape for name, shape in states.items()}}
    integers = {"hop": hop_samples, "end": np.iinfo(np.int64).max, "one": 1}
    floats = {"weights": weights, "half": np.float32([0.5]), "first": np.float32([1, 0, 0])}
    graph = helper.make_graph(
        nodes,
        "steps",
        *(
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in side.items()]
            for side in (inputs, outputs)
        ),
        [
            *(helper.make_tensor(n, TensorProto.INT64, [1], [v]) for n, v in integers.items()),
            *(
                helper.make_tensor(n, TensorProto.FLOAT, v.shape, v.ravel())
                for n, v in floats.items()
            ),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(onnx.ModelProto.SerializeToString(model))


def _write_bundle(
    folder: Path,
    *,
    window_samples: int = 96,
    hop_samples: int = 36,
    with_states: bool = False,
    more: Mapping[str, bytes] | None = None,
    **golden: np.ndarray,
) -> Path:
    """A whole bundle; `more` files beside the graph's, and arrays in place of the golden pair's."""
    folder.mkdir(parents=True)
    pcm_shape = (1, 7 * hop_samples) if with_states else (2, window_samples)
    pcm = np.random.default_rng(3).uniform(-0.5, 0.5, pcm_shape).astype(np.float32)
    states: tuple[State, ...] = ()
    if not with_states:
        graph = _graph(window_samples)
        answer = _answer(graph, pcm)
    else:
        graph = _step_graph(window_samples, hop_samples)
        answer = _step_answers(pcm[0], window_samples, hop_samples)
        states = (
            State(name="heard", shape=(1, window_samples - hop_samples)),
            State(name="fading", shape=(1, 1, 3), initial=FADING),
            State(name="still", shape=(1, 3), initial=-1.5),
        )
    arrays = {"pcm": pcm, "posteriors": answer, "tolerance": np.float64(1e-5), **golden}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    contents = {"model.onnx": graph, GOLDEN_FILE: buffer.getvalue(), **(more or {})}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    manifest = Manifest(
        name="places",
        labels=LABELS,
        streaming=Streaming(
            form="incremental" if with_states else "sliding_window",
            window_samples=window_samples,
            hop_samples=hop_samples,
        ),
        decision=Decision(keywords=LABELS[1:], threshold=0.5),
        states=states,
        files={name: file_digest(folder / name) for name in contents},
    )
    (folder / MANIFEST_FILE).write_text(seal(manifest).to_json(), encoding="utf-8")
    return folder


def _answer(graph: bytes, pcm: np.ndarray) -> np.ndarray:
    """The graph's equation, written plainly in float64."""
    (weights,) = (
        onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(graph).graph.initializer
    )
    return _softmax(pcm.astype(np.float64) @ weights)


def _step_answers(waveform: np.ndarray, window_samples: int, hop_samples: int) -> np.ndarray:
    """The same of the steps' graph, (hops, 3), window by window and with no state in sight."""
    padded = np.concatenate([np.zeros(window_samples), waveform.astype(np.float64)])
    ends = range(hop_samples, len(waveform) + 1, hop_samples)
    windows = np.stack([padded[end : end + window_samples] for end in ends])
    fading = np.zeros((len(windows), 3)) + FADING * 0.5 ** np.arange(len(windows))[:, None]
    return _softmax(windows @ _weights(window_samples) + fading * [1.0, 0.0, 0.0])


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_bundle(tmp_path_factory.mktemp("bundle") / "places")


@pytest.fixture(scope="session")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with states."""
    return _write_bundle(tmp_path_factory.mktemp("bundle") / "steps", with_states=True)


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


def _streamed(bundle: Path, samples: np.ndarray) -> np.ndarray:
    """(answers, labels) that the runtime's own stream asks for, its flush included."""
    model = load(bundle)
    silence = np.zeros(model.manifest.streaming.window_samples - 1, dtype=np.int16)
    heard = np.concatenate([samples, silence])
    return replay.streamed(model, heard, [len(heard)])


def _table(out: str) -> tuple[list[str], list[int], list[str], np.ndarray]:
    """Labels, ends, keywords and posteriors (answers, labels) of what the program printed."""
    head, *lines = (line.split("\t") for line in out.splitlines())
    assert head[:2] == ["end_samples", "keyword"]
    rows = np.array([line[2:] for line in lines], dtype=np.float32).reshape(-1, len(head) - 2)
    return head[2:], [int(line[0]) for line in lines], [line[1] for line in lines], rows


@pytest.fixture(scope="session")
def streamed() -> Callable[[Path, np.ndarray], np.ndarray]:
    return _streamed


@pytest.fixture(scope="session")
def table() -> Table:
    return _table


@pytest.fixture(scope="session")
def step_answers() -> Callable[..., np.ndarray]:
    return _step_answers


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
