"""Bundles of models with states, and bundles of several graphs: started, examined, heard."""

import contextlib
import dataclasses
import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_steps import STATES, StepEngine, expected, golden, step_graph, write_bundle

import runtime.doctor
from runtime import BundleFault, load
from runtime.bundle import read_bundle
from runtime.cli import main
from runtime.doctor import check
from runtime.faults import EngineMissing
from runtime.forms import incremental
from runtime.stream import start, start_all


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.doctor, "_MAX_STEPS", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "steps")


@pytest.mark.parametrize(
    "states, words",
    [
        (STATES[:1], "leak: float32"),
        ((*STATES, dataclasses.replace(STATES[0], name="more")), "more: float32"),
        ((dataclasses.replace(STATES[0], shape=(1, 4)), STATES[1]), r"tail: float32 \[1, 4\]"),
        ((dataclasses.replace(STATES[0], name="tails"), STATES[1]), "tails: float32"),
    ],
)
def test_a_graph_whose_states_are_not_the_manifests_is_refused(
    tmp_path: Path, states: tuple, words: str
) -> None:
    path = write_bundle(tmp_path / "b", states=states)
    with pytest.raises(BundleFault, match=rf"the graph's inputs .*{words}.*Export again"):
        load(path)


def test_a_graph_of_another_tail_or_hop_is_refused(tmp_path: Path) -> None:
    for number, other in enumerate((step_graph(200, tail=4), step_graph(100))):
        path = write_bundle(tmp_path / str(number), {"model.onnx": other})
        with pytest.raises(BundleFault, match="graph's inputs"):
            load(path)


class Fake(StepEngine):
    """As a backend's class: from a file's bytes."""

    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        super().__init__(200)
        if model == b"bad":
            raise BundleFault("cannot load the model")
        if model == b"no next leak":
            self.outputs = self.outputs[:-1]


class Absent:
    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        raise EngineMissing("pip install absent")


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put backends in place of the real ones: engine classes by a model file's ending."""

    def use(**engines: tuple[type, ...]) -> None:
        for suffix, classes in engines.items():
            name = f"runtime.backends.{suffix}"
            monkeypatch.setitem(sys.modules, name, SimpleNamespace(ENGINES=classes))

    return use


def test_a_graph_that_gives_no_next_state_is_refused(
    tmp_path: Path, backends: Callable[..., None]
) -> None:
    backends(onnx=(Fake,))
    assert load(write_bundle(tmp_path / "a")).engine.version == "steps 1.0"
    path = write_bundle(tmp_path / "b", {"model.onnx": b"no next leak"})
    with pytest.raises(BundleFault, match=r"outputs .*do not fit.*leak_next"):
        load(path)


def test_the_first_graph_that_an_engine_here_runs_is_taken(
    tmp_path: Path, backends: Callable[..., None]
) -> None:
    path = write_bundle(tmp_path / "b", {"model.fake": b"", "model.another": b""})
    assert read_bundle(path).manifest.model_files == ("model.onnx", "model.another", "model.fake")
    backends(fake=(Fake,))
    assert load(path).engine.version.startswith("onnxruntime ")
    backends(onnx=(Absent,))  # "another" is a format that this runtime does not know
    assert load(path).engine.version == "steps 1.0"
    assert [file for file, _ in start_all(read_bundle(path))] == ["model.fake"]
    backends(fake=(Absent, Fake))  # a second engine of the format
    assert load(path).engine.version == "steps 1.0"
    backends(fake=(Absent,))
    with pytest.raises(EngineMissing) as caught:
        start(read_bundle(path))
    for words in ("pip install absent; or", "model.another needs a backend 'another'"):
        assert words in str(caught.value)


def test_a_damaged_graph_is_no_reason_to_take_the_next(
    tmp_path: Path, backends: Callable[..., None]
) -> None:
    backends(fake=(Fake,))
    path = write_bundle(tmp_path / "b", {"model.onnx": b"no graph", "model.fake": b""})
    with pytest.raises(BundleFault, match="cannot load the model"):
        load(path)


def test_doctor_steps_and_streams_the_golden_pair(folder: Path) -> None:
    report = check(folder)
    assert report.passed
    rows = [(cell.form, cell.chunk_samples, cell.against) for cell in report.replayed]
    streams = [
        ("incremental", size, against)
        for size in ("1200", "200", "199", "7", "0 to 401")
        for against in ("offline", "golden")
    ]
    assert rows == [("offline", "1200", "golden"), *streams]
    assert (report.form, report.stream_bytes, report.hop_ms) == ("incremental", 20, 12.5)
    assert "incremental, keeps 0.0 KiB" in _shown(folder)


def test_doctor_holds_the_first_answers_of_a_long_golden_too(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", {"golden.npz": golden(answers=30)})
    cells = check(path).replayed
    assert cells[0].chunk_samples == "6000"
    assert cells[1].chunk_samples == "4800"
    assert [cell.against for cell in cells[1:]] == ["offline", "golden"] * 5
    assert all(cell.passed for cell in cells)


@pytest.mark.parametrize("row", [0, 3, 5])
def test_doctor_finds_a_golden_that_was_changed_in_any_answer(tmp_path: Path, row: int) -> None:
    pcm = np.random.default_rng(3).uniform(-0.5, 0.5, (1, 1200)).astype(np.float32)
    posteriors = expected(pcm[0], 200).astype(np.float32)
    posteriors[row, 1] += np.float32(1e-3)
    changed = golden(posteriors=posteriors)
    report = check(write_bundle(tmp_path / "b", {"golden.npz": changed}))
    assert not report.passed
    assert report.max_error == pytest.approx(1e-3, rel=0.1)


def test_doctor_finds_a_stream_that_loses_its_states(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = incremental.States.answer

    def forgetful(self: incremental.States, hop: np.ndarray) -> np.ndarray:
        self.reset()
        return answer(self, hop)

    monkeypatch.setattr(incremental.States, "answer", forgetful)
    report = check(folder)
    assert report.replayed[0].passed
    assert {cell.form for cell in report.failed} == {"incremental"}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"pcm": np.zeros((1, 1199), np.float32)}, r"golden\.npz: .*\(1, n \* 200\)"),
        ({"pcm": np.zeros((2, 1200), np.float32)}, r"golden\.npz: .*one recording"),
        ({"pcm": np.zeros((1, 1000), np.float32)}, "6 rows, and pcm .* has 5 answers"),
        ({"pcm": np.zeros((1, 1001 * 200), np.float32)}, "at most 1,000 are replayed"),
        ({"posteriors": np.zeros((6, 4), np.float32)}, "4 columns"),
    ],
)
def test_a_golden_of_other_shapes_is_a_fault(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = write_bundle(tmp_path / "b", {"golden.npz": golden(**changes)})
    with pytest.raises(BundleFault, match=words):
        check(path)


def test_a_graph_may_have_a_golden_of_its_own(
    tmp_path: Path, backends: Callable[..., None]
) -> None:
    class Coarse(Fake):
        """As in 8 bits: always a little off."""

        version = "coarse 1.0"

        def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            values = super().run(feeds)
            return values | {"posteriors": values["posteriors"] + np.float32(0.01)}

    backends(coarse=(Coarse,))
    pcm = np.random.default_rng(3).uniform(-0.5, 0.5, (1, 1200)).astype(np.float32)
    own = {"model.coarse.posteriors": (expected(pcm[0], 200) + 0.01).astype(np.float32)}
    loose = {"model.coarse.tolerance": np.float64(0.02)}
    for name, arrays, passed, tolerance in (
        ("none", {}, False, 1e-5),
        ("posteriors", own, True, 1e-5),
        ("tolerance", loose, True, 0.02),
        ("both", own | loose, True, 0.02),
    ):
        files = {"model.coarse": b"", "golden.npz": golden(**arrays)}
        path = write_bundle(tmp_path / name, files)
        report = check(path)
        assert report.passed is passed, name
        found = {cell.file: cell.tolerance for cell in report.replayed if cell.against == "golden"}
        assert found == {
            "model.onnx": pytest.approx(1e-5),
            "model.coarse": pytest.approx(tolerance),
        }
        bundle = read_bundle(path)
        assert bundle.golden().tolerance == pytest.approx(1e-5)
        assert bundle.golden("model.coarse").tolerance == pytest.approx(tolerance)
    # The report tells of the graph that comes nearest to what it may differ.
    assert report.max_error / report.tolerance == max(
        cell.largest_difference / cell.tolerance
        for cell in report.replayed
        if cell.against == "golden"
    )


def test_a_golden_of_its_own_is_read_as_strictly(tmp_path: Path) -> None:
    for name, array, words in (
        ("posteriors", np.full((6, 3), np.nan, np.float32), "finite"),
        ("posteriors", np.zeros((5, 3), np.float32), "5 rows"),
        ("tolerance", np.float32(-1), "positive"),
    ):
        path = write_bundle(
            tmp_path / words, {"golden.npz": golden(**{f"model.onnx.{name}": array})}
        )
        with pytest.raises(BundleFault, match=words):
            read_bundle(path).golden("model.onnx")


def test_listening_to_a_recording_hears_its_words(
    tmp_path: Path, folder: Path, wav_bytes: Callable[..., bytes], capsys: pytest.CaptureFixture
) -> None:
    waveform = np.repeat([0.0, 0.0, 0.5, 0.0, -0.5, 0.0], 1_600)
    (tmp_path / "a.wav").write_bytes(wav_bytes(waveform))
    assert main(["listen", str(folder), "--wav", str(tmp_path / "a.wav"), "--json"]) == 0
    labels = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    assert labels[-2:] == ["yes", "no"]


def _shown(folder: Path) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        assert main(["doctor", str(folder)]) == 0
    return shown.getvalue()
