"""The C program is the runtime's stream: the same windows, the same posteriors."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.bundle import export_keywords
from runtime.manifest import Decision, Streaming
from runtime.stream import load
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.tasks.keywords import KeywordModel

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demos" / "c"
Run = Callable[..., subprocess.CompletedProcess[str]]
Error = Callable[[subprocess.CompletedProcess[str]], str]
Streamed = Callable[[Path, np.ndarray], np.ndarray]
Table = Callable[[str], tuple[list[str], list[int], list[str], np.ndarray]]


@settings(max_examples=12)
@given(data=st.data())
def test_the_stream_is_the_runtimes_at_any_window_hop_length_and_block(
    program: Run,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    make_bundle: Callable[..., Path],
    write_wav: Callable[..., Path],
    noise: Callable[..., np.ndarray],
    streamed: Streamed,
    table: Table,
) -> None:
    window = data.draw(st.integers(1, 700), label="window")
    hop = data.draw(st.integers(max(1, window // 20), window), label="hop")
    samples = noise(data.draw(st.integers(1, 1_500), label="length"), seed=hop)
    folder = tmp_path_factory.mktemp("any")
    made = make_bundle(folder / "bundle", window_samples=window, hop_samples=hop)
    path = write_wav(folder / "noise.wav", samples)

    block = data.draw(st.sampled_from([1, 7, 160, 4_096, 65_536]), label="block")
    done = program(made, path, "--block-samples", block)
    assert (done.returncode, done.stderr) == (0, "")
    labels, ends, keywords, rows = table(done.stdout)

    expected = streamed(made, samples)
    names = load(made).labels
    assert tuple(labels) == names
    assert ends == [hop * (index + 1) for index in range(len(expected))]
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)
    for keyword, row in zip(keywords, rows, strict=True):
        top = 1 + int(np.argmax(row[1:]))
        assert keyword == (names[top] if row[top] >= 0.5 else "-")


def test_an_exported_model_streams_and_replays_its_golden_pair(
    program: Run,
    tmp_path: Path,
    write_wav: Callable[..., Path],
    noise: Callable[..., np.ndarray],
    make: Run,
    streamed: Streamed,
    table: Table,
) -> None:
    """A real graph, front end and normalization in it, by the command that the README gives."""
    labels = ("_silence_", "no", "yes")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = DsCnn(DsCnnConfig(num_mels=12, channels=6, num_blocks=1))
        classifier = KeywordModel(body, labels).eval()
        with torch.no_grad():
            for parameter in classifier.parameters():
                parameter.mul_(3.0)  # untrained, it would answer nearly the same to anything
    bundle = tmp_path / "keywords bundle"
    export_keywords(
        classifier,
        bundle,
        name="tiny",
        labels=labels,
        streaming=Streaming(window_samples=4_000, hop_samples=1_600),
        decision=Decision(keywords=labels[1:], threshold=0.9),
        provenance={},
        measured={},
    )
    swell = np.sin(np.arange(20_000) / 3_000.0) ** 4
    samples = np.round(noise(20_000) * swell).astype(np.int16)
    path = write_wav(tmp_path / "a recording.wav", samples)

    words = (f"BUILD={tmp_path}", f"BUNDLE={bundle}", f"WAV={path}", "CFLAGS=-O0")
    made = make("c-demo", *words, folder=ROOT)
    assert made.returncode == 0, made.stderr
    assert "golden: largest difference" in made.stdout
    expected = streamed(bundle, samples)
    assert np.ptp(expected, axis=0).max() > 0.01
    for out in (program(bundle, path).stdout, made.stdout[made.stdout.index("end_samples") :]):
        *_, rows = table(out)
        np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)


def test_a_threshold_decides_which_keywords_are_named(
    program: Run, bundle: Path, wav: Path, table: Table
) -> None:
    *_, rows = table(program(bundle, wav).stdout)
    largest = rows[:, 1:].max(axis=1)
    threshold = float(np.median(largest))
    *_, keywords, _ = table(program(bundle, wav, "--threshold", repr(threshold)).stdout)
    assert [word != "-" for word in keywords] == [bool(row >= threshold) for row in largest]


def test_the_golden_pair_is_replayed_and_a_changed_one_is_refused(
    program: Run, bundle: Path, tmp_path: Path, error: Error, run: Run
) -> None:
    golden = tmp_path / "golden"
    script = run("env", f"PYTHONPATH={ROOT}", sys.executable, DEMO / "golden.py", bundle, golden)
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
        assert "the golden posteriors differ" in error(refused)
    posteriors[:-1].tofile(golden / "posteriors.f32")
    assert "must hold 24 bytes, got 20" in error(program("--golden", bundle, golden))
    (golden / "golden.json").unlink()
    assert "golden.json: cannot be read" in error(program("--golden", bundle, golden))


def test_make_runs_the_demo_over_a_bundle(
    needs: None, bundle: Path, tmp_path: Path, make: Run
) -> None:
    words = (f"BUILD={tmp_path}", f"BUNDLE={bundle}", "CFLAGS=-O0")
    made = make("c-demo", *words, folder=ROOT)
    assert made.returncode == 0, made.stderr
    assert "golden: largest difference" in made.stdout
    assert "end_samples\tkeyword\t_silence_" in made.stdout

    refused = make("c-demo", words[0], f"BUNDLE={tmp_path}", folder=ROOT)
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
    tmp_path: Path, request: pytest.FixtureRequest, setting: str, words: str, make: Run
) -> None:
    if not setting.startswith("CC="):
        if shutil.which("cc") is None:
            pytest.skip("no C compiler 'cc'")
        if "LIBRARY" in setting:
            request.getfixturevalue("needs")
    refused = make("c-demo", f"BUILD={tmp_path / 'build'}", setting, folder=ROOT)
    assert refused.returncode != 0
    assert words in refused.stderr
    assert not (tmp_path / "build").exists()


def test_a_header_newer_than_the_library_is_one_line(
    needs: None, bundle: Path, tmp_path: Path, make: Run, run: Run, error: Error
) -> None:
    target = tmp_path / "build" / "otolite-stream"
    planned = make("--dry-run", f"BUILD={target.parent}", str(target)).stdout
    include = Path(planned.partition('-isystem "')[2].partition('"')[0])
    for path in include.glob("onnxruntime_*.h"):
        text = path.read_text(encoding="utf-8")
        newer = re.sub(r"(?m)^#define ORT_API_VERSION \d+", "#define ORT_API_VERSION 9999", text)
        (tmp_path / path.name).write_text(newer, encoding="utf-8")
    words = (f"BUILD={target.parent}", f"ONNXRUNTIME_INCLUDE={tmp_path}", "CFLAGS=-O0")
    made = make(*words, str(target))
    assert made.returncode == 0, made.stderr
    assert "is older than the header of 1.9999" in error(run(target, bundle, "any.wav"))


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
