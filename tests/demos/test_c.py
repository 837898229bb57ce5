"""The C program is the runtime's stream: the same windows, the same posteriors, no crash."""

import ast
import dataclasses
import io
import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
from runtime.stream import Model, load

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
    build = tmp_path_factory.mktemp("c build")
    # make splits paths at spaces in a target's name, so the build folder has none.
    build = build.rename(build.with_name("c-build"))
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
    files = {name: "0" * 64 for name in ("model.onnx", GOLDEN_FILE)}
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


class Recorder:
    """A model's engine that keeps what it answered."""

    def __init__(self, model: Model) -> None:
        self.inputs, self.outputs = model.engine.inputs, model.engine.outputs
        self.version = model.engine.version
        self.rows: list[np.ndarray] = []
        self._engine = model.engine

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        answer = self._engine.run(feeds)
        self.rows.append(answer["posteriors"][0])
        return answer


def _streamed(bundle: Path, samples: np.ndarray) -> np.ndarray:
    """(windows, labels) that the runtime's own stream asks for, its flush included."""
    model = load(bundle)
    recorder = Recorder(model)
    stream = Model(manifest=model.manifest, engine=recorder).stream()
    stream.push(samples)
    stream.flush()
    return np.array(recorder.rows).reshape(-1, len(model.labels))


def _table(out: str) -> tuple[list[str], list[int], list[str], np.ndarray]:
    """Labels, ends, keywords and posteriors (windows, labels) of what the program printed."""
    head, *lines = (line.split("\t") for line in out.splitlines())
    assert head[:2] == ["end_samples", "keyword"]
    rows = np.array([line[2:] for line in lines], dtype=np.float32).reshape(-1, len(head) - 2)
    return head[2:], [int(line[0]) for line in lines], [line[1] for line in lines], rows


@settings(max_examples=12)
@given(data=st.data())
def test_the_stream_is_the_runtimes_at_any_window_hop_length_and_block(
    program: Run, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    window = data.draw(st.integers(1, 700), label="window")
    hop = data.draw(st.integers(max(1, window // 20), window), label="hop")
    samples = _noise(data.draw(st.integers(1, 1_500), label="length"), seed=hop)
    folder = tmp_path_factory.mktemp("any")
    made = _write_bundle(folder / "bundle", window_samples=window, hop_samples=hop)
    path = _write_wav(folder / "noise.wav", samples)

    block = data.draw(st.sampled_from([1, 7, 160, 4_096, 65_536]), label="block")
    done = program(made, path, "--block-samples", block)
    assert (done.returncode, done.stderr) == (0, "")
    labels, ends, keywords, rows = _table(done.stdout)

    expected = _streamed(made, samples)
    assert tuple(labels) == LABELS
    assert ends == [hop * (index + 1) for index in range(len(expected))]
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)
    for keyword, row in zip(keywords, rows, strict=True):
        top = 1 + int(np.argmax(row[1:]))
        assert keyword == (LABELS[top] if row[top] >= 0.5 else "-")


def test_a_threshold_decides_which_keywords_are_named(
    program: Run, bundle: Path, wav: Path
) -> None:
    *_, rows = _table(program(bundle, wav).stdout)
    largest = rows[:, 1:].max(axis=1)
    threshold = float(np.median(largest))
    *_, keywords, _ = _table(program(bundle, wav, "--threshold", repr(threshold)).stdout)
    assert [word != "-" for word in keywords] == [bool(row >= threshold) for row in largest]


def test_the_golden_pair_is_replayed_and_a_changed_one_is_refused(
    program: Run, bundle: Path, tmp_path: Path
) -> None:
    golden = tmp_path / "golden"
    script = _run("env", f"PYTHONPATH={ROOT}", sys.executable, DEMO / "golden.py", bundle, golden)
    assert (script.returncode, script.stderr) == (0, "")
    done = program("--golden", bundle, golden)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("golden: largest difference ")
    assert program(bundle, golden / "golden.wav").returncode == 0

    posteriors = np.fromfile(golden / "posteriors.f32", dtype=np.float32)
    for wrong in (posteriors + 2e-5, np.full_like(posteriors, np.nan)):
        wrong.astype(np.float32).tofile(golden / "posteriors.f32")
        refused = program("--golden", bundle, golden)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "the golden posteriors differ" in _error(refused)
    posteriors[:-1].tofile(golden / "posteriors.f32")
    assert "must hold 24 bytes, got 20" in _error(program("--golden", bundle, golden))
    (golden / "golden.json").unlink()
    assert "golden.json: cannot be read" in _error(program("--golden", bundle, golden))


def _error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def _damaged_wavs(good: bytes) -> dict[str, tuple[bytes, str]]:
    return {
        "empty": (b"", "is not a WAV file"),
        "text": (b"not a recording, and long enough", "is not a WAV file"),
        "header": (good[:30], "is truncated in its format"),
        "chunks": (good[:40], "ends before its samples"),
        "data": (good[:-3], "is truncated: 2000 bytes of samples stated, 1997 there"),
        "none": (good[:40] + b"\0\0\0\0", "0 bytes of samples"),
        "odd": (good[:40] + b"\3\0\0\0" + good[44:], "3 bytes of samples"),
        "float": (good[:20] + b"\3" + good[21:], "got format 3"),
        "early": (good[:12] + good[36:], "has its samples before their format"),
        "chunk": (good[:12] + b"LIST\xff\xff\xff\xff" + good[12:], "ends before its samples"),
    }


@pytest.mark.parametrize("name", sorted(_damaged_wavs(b"\0" * 2_044)))
def test_a_damaged_recording_is_one_line(
    program: Run, bundle: Path, wav: Path, tmp_path: Path, name: str
) -> None:
    data, words = _damaged_wavs(wav.read_bytes())[name]
    path = tmp_path / "damaged.wav"
    path.write_bytes(data)
    done = program(bundle, path)
    assert words in _error(done)
    assert done.stdout == ""


def test_a_chunk_of_odd_size_before_the_samples_is_passed_over(
    program: Run, bundle: Path, wav: Path, tmp_path: Path
) -> None:
    good = wav.read_bytes()
    path = tmp_path / "tagged.wav"
    path.write_bytes(good[:36] + b"LIST\3\0\0\0abc\0" + good[36:])
    assert program(bundle, path).stdout == program(bundle, wav).stdout


def test_other_rates_channels_and_absent_files_are_refused(
    program: Run, bundle: Path, wav: Path, tmp_path: Path
) -> None:
    slow = _write_wav(tmp_path / "slow.wav", _noise(100), rate_hz=8_000)
    stereo = _write_wav(tmp_path / "stereo.wav", _noise(100), channels=2)
    refused = {
        "has 8000 samples a second, the model wants 16000": program(bundle, slow),
        "got format 1, 2 channels": program(bundle, stereo),
        "absent.wav: cannot be read": program(bundle, tmp_path / "absent.wav"),
        "cannot be read: Is a directory": program(tmp_path, wav)
        if (tmp_path / MANIFEST_FILE).mkdir() is None
        else None,
        "absent/manifest.json: cannot be read": program(tmp_path / "absent", wav),
    }
    for words, done in refused.items():
        assert done is not None
        assert words in _error(done)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"schema_version": "1.0"', '"schema_version": "2.0"', "schema_version '2.0' is not run"),
        ('"sliding_window"', '"incremental"', "streaming.form 'incremental' is not run"),
        ('"task": "keywords"', '"task": "phones"', "task 'phones' is not run"),
        ('"hop_samples": 36', '"hop_samples": 97', "hop_samples must be an integer in [1, 96]"),
        ('"hop_samples": 36', '"hop_samples": 3.6e1', "must be an integer in [1, 96], got 3.6e1"),
        ('"hop_samples": 36', '"hop_samples": 036', "is not valid JSON"),
        ('"hop_samples": 36', '"hop_samples": 1, "hop_samples": 2', "must be there once"),
        ('"hop_samples": 36', '"hop_sample": 36', "streaming.hop_samples must be there once"),
        ('"window_samples": 96', '"window_samples": 99999999999999999999', "got 9999"),
        ('"threshold": 0.5', '"threshold": 1e999', "decision.threshold must be a finite number"),
        ('"threshold": 0.5', '"threshold": 0', "decision.threshold must lie in (0, 1]"),
        ('"_silence_"', '"a\\u0009b"', "cannot be printed"),
        ('"_silence_"', '"\\ud83d"', "cannot be printed"),
        ('"_silence_"', "[[]]", "labels must be a string"),
        ('"_silence_"', "[" * 70 + "]" * 70, "nested at most 64 deep"),
        ('    "no"\n  ],\n  "decision"', '    "na"\n  ],\n  "decision"', "'no' is not among"),
        ('"model.onnx"', '"model.tflite"', "files.model.onnx must be there once"),
    ],
)
def test_a_wrong_manifest_is_one_line(
    program: Run, bundle: Path, wav: Path, tmp_path: Path, old: str, new: str, words: str
) -> None:
    text = (bundle / MANIFEST_FILE).read_text(encoding="utf-8")
    if '"decision"' in old:  # the labels' list ends otherwise than this one does
        text = text.replace('    "no"\n  ],', '    "na"\n  ],', 1)
    else:
        assert old in text
        text = text.replace(old, new, 1)
    shutil.copy(bundle / "model.onnx", tmp_path)
    (tmp_path / MANIFEST_FILE).write_text(text, encoding="utf-8")
    done = program(tmp_path, wav)
    assert words in _error(done)
    assert done.stdout == ""


def test_no_damage_to_a_manifest_crashes(
    program: Run, bundle: Path, wav: Path, tmp_path: Path
) -> None:
    """Cut short anywhere it is refused; a changed byte is refused, or lies where none is read."""
    good = (bundle / MANIFEST_FILE).read_bytes()
    rng = np.random.default_rng(11)
    shutil.copy(bundle / "model.onnx", tmp_path)
    for number in range(40):
        damaged = bytearray(good)
        place = int(rng.integers(len(good) - 2))
        if number % 2:
            damaged[place] = int(rng.integers(256))
        else:
            del damaged[place:]
        (tmp_path / MANIFEST_FILE).write_bytes(damaged)
        done = program(tmp_path, wav)
        if number % 2 == 0 or done.returncode:
            assert _error(done)


def test_a_damaged_model_is_one_line(program: Run, bundle: Path, wav: Path, tmp_path: Path) -> None:
    shutil.copy(bundle / MANIFEST_FILE, tmp_path)
    assert "model.onnx: cannot be read" in _error(program(tmp_path, wav))
    graph = (bundle / "model.onnx").read_bytes()
    other = _graph(95)  # a window that is not the manifest's
    wide = graph.replace(b"posteriors", b"posteriora")
    for model, words in (
        (graph[:-9], "cannot load the model"),
        (b"", "cannot load the model"),
        (other, "cannot run the model"),
        (wide, "cannot run the model"),
    ):
        (tmp_path / "model.onnx").write_bytes(model)
        assert words in _error(program(tmp_path, wav))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("a",),
        ("a", "b", "c"),
        ("a", "b", "--threshold"),
        ("a", "b", "--threshold", "nan"),
        ("a", "b", "--threshold", "1.5"),
        ("a", "b", "--block-samples", "1.5"),
        ("a", "b", "--block-samples", "1e9"),
        ("a", "b", "--loud"),
    ],
)
def test_a_wrong_call_shows_the_usage(program: Run, words: tuple[str, ...]) -> None:
    done = program(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")


def test_help_is_an_answer(program: Run) -> None:
    done = program("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_make_runs_the_demo_over_a_bundle(needs: None, bundle: Path, tmp_path: Path) -> None:
    words = (f"BUILD={tmp_path}", f"BUNDLE={bundle}", "CFLAGS=-O0")
    made = _make("c-demo", *words, folder=ROOT)
    assert made.returncode == 0, made.stderr
    assert "golden: largest difference" in made.stdout
    assert "end_samples\tkeyword\t_silence_" in made.stdout

    refused = _make("c-demo", words[0], f"BUNDLE={tmp_path}", folder=ROOT)
    assert refused.returncode != 0
    assert f"no bundle in '{tmp_path}'" in refused.stderr


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("ONNXRUNTIME_INCLUDE=/absent", "onnxruntime_c_api.h is in none of: /absent"),
        ("ONNXRUNTIME_LIBRARY=/absent", "has no onnxruntime with a libonnxruntime.so"),
        ("CC=absent-cc", "no C compiler 'absent-cc'"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_built(
    tmp_path: Path, request: pytest.FixtureRequest, setting: str, words: str
) -> None:
    if not setting.startswith("CC="):
        if shutil.which("cc") is None:
            pytest.skip("no C compiler 'cc'")
        if "LIBRARY" in setting:
            request.getfixturevalue("needs")
    refused = _make("c-demo", f"BUILD={tmp_path / 'build'}", setting, folder=ROOT)
    assert refused.returncode != 0
    assert words in refused.stderr
    assert not (tmp_path / "build").exists()


def test_the_python_step_imports_the_runtime_and_numpy_alone() -> None:
    tree: Any = ast.parse((DEMO / "golden.py").read_text(encoding="utf-8"))
    names = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    tops = {name.partition(".")[0] for name in names}
    assert tops - set(sys.stdlib_module_names) == {"numpy", "runtime"}
