"""The programs of docs/how-to/export-and-stream.md run as they stand, on an engine alone."""

import ast
import re
import subprocess
import sys
import wave
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from export.bundle import export_keywords
from runtime import replay
from runtime.manifest import Decision, Streaming
from runtime.stream import load
from train.models.causal_keyword_transformer import (
    CausalKeywordTransformer,
    CausalKeywordTransformerConfig,
)
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.tasks.keyword_step import KeywordStep
from train.tasks.keywords import KeywordModel

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "export-and-stream.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
ONNX, LOOP, LITERT, WINDOW = BLOCKS
LABELS = ("_silence_", "no", "yes")
NUM_SAMPLES = 20_000
"""No whole number of hops."""


def _model(body: torch.nn.Module, scale: float) -> KeywordModel:
    model = KeywordModel(body, LABELS).eval()
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.mul_(scale)  # untrained, it would answer nearly the same to anything
    return model


def _export(model: torch.nn.Module, out: Path, streaming: Streaming, formats: list[str]) -> None:
    export_keywords(
        model,
        out,
        name="tiny",
        labels=LABELS,
        streaming=streaming,
        decision=Decision(keywords=LABELS[1:], threshold=0.5),
        provenance={},
        measured={},
        formats=formats,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's programs find: two bundles and a recording."""
    folder = tmp_path_factory.mktemp("how-to")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = CausalKeywordTransformerConfig(num_layers=1, embed_dim=8, num_heads=1, ffn_dim=8)
        causal = _model(CausalKeywordTransformer(sizes), 2.0)
        whole = _model(DsCnn(DsCnnConfig(num_mels=12, channels=6, num_blocks=1)), 8.0)
    step = KeywordStep(causal, 2)
    formats = ["onnx"]
    if all(find_spec(name) for name in ("ai_edge_litert", "litert_torch")):
        formats.append("tflite")
    streaming = Streaming(
        form="incremental", window_samples=step.window_samples, hop_samples=step.chunk_samples
    )
    _export(step, folder / "keywords.bundle", streaming, formats)
    streaming = Streaming(window_samples=4_000, hop_samples=1_600)
    _export(whole, folder / "window.bundle", streaming, ["onnx"])
    time = np.arange(NUM_SAMPLES) / 16_000
    tone = 8_000 * np.sin(2_000 * time) * np.sin(3 * time) ** 2
    with wave.open(str(folder / "words.wav"), "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(16_000)
        recording.writeframes(tone.astype("<i2").tobytes())
    return folder


def _recording(folder: Path) -> np.ndarray:
    with wave.open(str(folder / "words.wav")) as recording:
        return np.frombuffer(recording.readframes(NUM_SAMPLES), dtype="<i2").astype(np.int16)


@pytest.mark.parametrize(
    ("program", "bundle", "file"),
    [
        (ONNX, "keywords.bundle", "model.onnx"),
        (LITERT, "keywords.bundle", "model.tflite"),
        (WINDOW, "window.bundle", "model.onnx"),
    ],
    ids=["onnxruntime", "litert", "window"],
)
def test_a_program_of_the_page_answers_as_the_runtime(
    folder: Path, program: str, bundle: str, file: str
) -> None:
    if not (folder / bundle / file).is_file():
        pytest.skip("the extra 'tflite' is not installed")
    done = subprocess.run(
        [sys.executable, "-I", "-c", program + LOOP],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    model = load(folder / bundle)
    expected = replay.streamed(model, _recording(folder), [NUM_SAMPLES])
    assert np.ptp(expected, axis=0).max() > 0.01
    hop = model.manifest.streaming.hop_samples
    assert [int(line[0]) for line in lines] == [hop * (k + 1) for k in range(len(expected))]
    assert [line[1] for line in lines] == [LABELS[row.argmax()] for row in expected]
    answers = np.array([line[2:] for line in lines], dtype=np.float32)
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-5)  # float32 sums


@pytest.mark.parametrize(
    ("program", "file"), [(ONNX, "model.onnx"), (LITERT, "model.tflite")], ids=["onnx", "litert"]
)
def test_its_replay_of_the_golden_pair_notices_a_wrong_answer(
    folder: Path, tmp_path: Path, program: str, file: str
) -> None:
    made = folder / "keywords.bundle"
    if not (made / file).is_file():
        pytest.skip("the extra 'tflite' is not installed")
    other = tmp_path / "keywords.bundle"
    other.mkdir()
    for name in (file, "manifest.json"):
        (other / name).write_bytes((made / name).read_bytes())
    with np.load(made / "golden.npz") as arrays:
        golden = dict(arrays)
    golden["posteriors"][-1, 0] += 1e-3  # the last hop's alone
    np.savez(other / "golden.npz", **golden)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "AssertionError" in done.stderr


@pytest.mark.parametrize("program", BLOCKS, ids=["onnx", "loop", "litert", "window"])
def test_the_programs_import_an_engine_and_numpy_alone(program: str) -> None:
    tree = ast.parse(program)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    names = {alias.name for node in imports for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert tops <= {"numpy", "onnxruntime", "ai_edge_litert"}
