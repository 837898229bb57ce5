"""A bundle with states in C: the runtime's answers hop by hop, or one line that says why not."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bundle import GOLDEN_FILE, MANIFEST_FILE, file_digest, seal
from runtime.manifest import Manifest

ROOT = Path(__file__).parents[2]
GOLDEN_SCRIPT = ROOT / "demos" / "c" / "golden.py"
Run = Callable[..., subprocess.CompletedProcess[str]]
Error = Callable[[subprocess.CompletedProcess[str]], str]
Table = Callable[[str], tuple[list[str], list[int], list[str], np.ndarray]]


@pytest.fixture
def plain_golden(run: Run, tmp_path: Path) -> Callable[[Path], Path]:
    """A bundle's golden pair as the plain files that the program reads."""

    def write(bundle: Path) -> Path:
        out = tmp_path / "golden"
        done = run("env", f"PYTHONPATH={ROOT}", sys.executable, GOLDEN_SCRIPT, bundle, out)
        assert (done.returncode, done.stderr) == (0, "")
        return out

    return write


@settings(max_examples=10)
@given(data=st.data())
def test_steps_are_the_runtimes_and_the_equations_at_any_hop_and_block(
    program: Run,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    make_bundle: Callable[..., Path],
    write_wav: Callable[..., Path],
    noise: Callable[..., np.ndarray],
    streamed: Callable[[Path, np.ndarray], np.ndarray],
    table: Table,
    step_answers: Callable[..., np.ndarray],
) -> None:
    window = data.draw(st.integers(2, 400), label="window")
    hop = data.draw(st.integers(max(1, window // 20), window - 1), label="hop")
    samples = noise(data.draw(st.integers(1, 1_500), label="length"), seed=hop)
    folder = tmp_path_factory.mktemp("any")
    made = make_bundle(folder / "bundle", window_samples=window, hop_samples=hop, with_states=True)
    path = write_wav(folder / "noise.wav", samples)

    block = data.draw(st.sampled_from([1, 7, 160, 65_536]), label="block")
    done = program(made, path, "--block-samples", block)
    assert (done.returncode, done.stderr) == (0, "")
    _, ends, _, rows = table(done.stdout)
    flushed = np.concatenate([samples / 32768.0, np.zeros(window - 1)])
    expected = step_answers(flushed, window, hop)
    assert ends == [hop * (index + 1) for index in range(len(expected))]
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(rows, streamed(made, samples), rtol=0, atol=1e-5)


def test_the_golden_hops_are_replayed_and_a_changed_one_is_refused(
    program: Run, steps: Path, plain_golden: Callable[[Path], Path], error: Error
) -> None:
    golden = plain_golden(steps)
    done = program("--golden", steps, golden)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("golden: largest difference ")

    posteriors = np.fromfile(golden / "posteriors.f32", dtype=np.float32).reshape(7, 3)
    for hop in range(7):
        wrong = posteriors.copy()
        wrong[hop, 1] += 2e-5
        wrong.tofile(golden / "posteriors.f32")
        assert "the golden posteriors differ" in error(program("--golden", steps, golden))
    posteriors[:6].tofile(golden / "posteriors.f32")
    assert "must hold 84 bytes, got 72" in error(program("--golden", steps, golden))


@pytest.mark.parametrize(("batch", "samples"), [(2, 126), (1, 253)])
def test_a_golden_that_is_no_recording_of_whole_hops_is_refused(
    program: Run,
    steps: Path,
    plain_golden: Callable[[Path], Path],
    error: Error,
    batch: int,
    samples: int,
) -> None:
    golden = plain_golden(steps)
    shape = json.loads((golden / "golden.json").read_text())
    assert (shape["batch"], shape["samples"]) == (1, 252)
    shape.update(batch=batch, samples=samples)
    (golden / "golden.json").write_text(json.dumps(shape))
    words = f"takes (1, n * 36) samples, got ({batch}, {samples})"
    assert words in error(program("--golden", steps, golden))


@pytest.mark.parametrize("with_states", [False, True])
def test_a_graph_for_another_engine_is_passed_over(
    program: Run,
    plain_golden: Callable[[Path], Path],
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    wav: Path,
    with_states: bool,
) -> None:
    """Where each graph has answers of its own, the golden ones are the ONNX graph's."""
    alone = make_bundle(tmp_path / "alone", with_states=with_states)
    with np.load(alone / GOLDEN_FILE) as arrays:
        own = arrays["posteriors"]
    both = make_bundle(
        tmp_path / "both",
        with_states=with_states,
        more={"model.tflite": b"not looked at"},
        posteriors=np.full_like(own, 1 / 3),
        tolerance=np.float64(1e-9),
        **{"model.onnx.posteriors": own, "model.onnx.tolerance": np.float64(1e-5)},
    )
    assert program(both, wav).stdout == program(alone, wav).stdout
    done = program("--golden", both, plain_golden(both))
    assert (done.returncode, done.stderr) == (0, "")
    assert "1e-05 is allowed" in done.stdout


def test_a_bundle_without_an_onnx_graph_says_so_before_its_golden_is_written(
    bundle: Path, tmp_path: Path, run: Run
) -> None:
    other = tmp_path / "tflite"
    shutil.copytree(bundle, other)
    (other / "model.onnx").rename(other / "model.tflite")
    manifest = Manifest.from_json((other / MANIFEST_FILE).read_text(encoding="utf-8"))
    files = {name: file_digest(other / name) for name in ("model.tflite", GOLDEN_FILE)}
    sealed = seal(dataclasses.replace(manifest, files=files))
    (other / MANIFEST_FILE).write_text(sealed.to_json(), encoding="utf-8")
    done = run("env", f"PYTHONPATH={ROOT}", sys.executable, GOLDEN_SCRIPT, other, tmp_path / "out")
    assert done.returncode == 1
    assert "holds model.tflite and no model.onnx" in done.stderr
    assert not (tmp_path / "out").exists()


def _state(number: int, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["states"][number].update(changes)


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["states"][0].pop(key)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop("states"), "the form 'incremental' has 1 or more, got 0"),
        (lambda m: m.update(states=[]), "the form 'incremental' has 1 or more, got 0"),
        (lambda m: m.update(states={}), "states must be a list of 0 to 1024 items"),
        (lambda m: m.update(states=m["states"] * 400), "states must be a list of 0 to 1024"),
        (lambda m: m.update(states=[3]), "states must be an object"),
        (
            lambda m: m["streaming"].update(form="sliding_window"),
            "the form 'sliding_window' has none, got 3",
        ),
        (lambda m: m["states"].pop(), "has 4 inputs and 4 outputs, and its manifest states 3"),
        (_state(0, name="unheard"), "cannot run the model: Invalid input name: unheard"),
        (_state(0, name="fading"), "cannot run the model"),
        (_state(0, name="pcm"), "cannot run the model"),
        (_state(0, name=""), "states.name must have 1 to 800 bytes, got 0"),
        (_state(0, name="a\tb"), "states.name holds a character that cannot be printed"),
        (_state(0, name=3), "states.name must be a string"),
        (_without("name"), "states.name must be there once"),
        (_state(0, dtype="int64"), "states.dtype 'int64' is not run"),
        (_state(0, initial="0"), "states.initial must be a finite number"),
        (_state(0, initial=1e39), "states.initial must be a finite float32, got 1e+39"),
        (_without("initial"), "states.initial must be there once"),
        (_state(0, shape=[1, 61]), "cannot run the model"),
        (_state(0, shape=[1, 60, 1]), "cannot run the model"),
        (_state(0, shape=[2, 60]), "states.shape's batch must be an integer in [1, 1], got 2"),
        (_state(0, shape=[1, 0]), "states.shape must be an integer in [1, 16777216], got 0"),
        (_state(0, shape=[1, 6e1]), "states.shape must be an integer"),
        (_state(0, shape=[1] * 9), "states.shape must be a list of 1 to 8 items"),
        (_state(0, shape=[]), "states.shape must be a list of 1 to 8 items"),
        (_state(0, shape=[1, 1 << 20, 1 << 20]), "states.shape must be an integer in [1, 16]"),
        (_state(0, shape=[1, 1 << 24]), "states must take at most 67108864 bytes together"),
        (lambda m: m["streaming"].update(hop_samples=35), "cannot run the model"),
    ],
)
def test_states_that_are_not_the_graphs_are_one_line(
    program: Run,
    steps: Path,
    wav: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    words: str,
    error: Error,
) -> None:
    manifest = json.loads((steps / MANIFEST_FILE).read_text(encoding="utf-8"))
    change(manifest)
    shutil.copy(steps / "model.onnx", tmp_path)
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    done = program(tmp_path, wav)
    assert words in error(done)
    assert len(done.stdout.splitlines()) <= 1  # the labels at most, and no answer


def test_a_state_that_becomes_infinite_ends_the_stream(
    program: Run, steps: Path, wav: Path, tmp_path: Path, error: Error
) -> None:
    manifest = json.loads((steps / MANIFEST_FILE).read_text(encoding="utf-8"))
    good = (steps / "model.onnx").read_bytes()
    # Halving becomes a doubling that no float holds for long; posteriors hide it as one-hot.
    half, huge = np.float32(0.5).tobytes(), np.float32(1e20).tobytes()
    assert good.count(half) == 1
    (tmp_path / "model.onnx").write_bytes(good.replace(half, huge))
    manifest["states"][1]["initial"] = 1.0
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    done = program(tmp_path, wav)
    assert "the model's fading_next hold NaN or infinity" in error(done)
    assert len(done.stdout.splitlines()) == 2  # the labels and the only answer before


def test_no_damage_to_a_manifest_with_states_crashes(
    program: Run, steps: Path, wav: Path, tmp_path: Path, error: Error
) -> None:
    good = (steps / MANIFEST_FILE).read_bytes()
    place, end = good.index(b'"states"'), good.index(b'"labels"')
    rng = np.random.default_rng(12)
    shutil.copy(steps / "model.onnx", tmp_path)
    for _ in range(25):
        damaged = bytearray(good)
        damaged[int(rng.integers(place, end))] = int(rng.integers(256))
        (tmp_path / MANIFEST_FILE).write_bytes(damaged)
        done = program(tmp_path, wav)
        if done.returncode:
            assert error(done)
