"""Doctor: what it finds on this machine."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import runtime.doctor
from runtime import BundleFault
from runtime.doctor import check
from runtime.forms.sliding_window import Window


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.doctor, "_MAX_STEPS", 3)


def test_a_whole_bundle_passes(bundle: Path) -> None:
    report = check(bundle)
    assert report.passed
    assert 0.0 <= report.max_error <= report.tolerance == pytest.approx(1e-5)
    assert report.engine.startswith("onnxruntime ")
    assert report.hop_ms == 12.5
    assert report.real_time_factor == report.step_ms / 12.5
    assert report.step_p90_ms >= report.step_ms
    assert report.real_time_factor_p90 == report.step_p90_ms / 12.5
    assert report.to_dict()["passed"] is True
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_golden_is_replayed_as_a_stream_too(bundle: Path) -> None:
    report = check(bundle)
    rows = [(cell.form, cell.chunk_samples, cell.against) for cell in report.replayed]
    chunks = ("800", "200", "199", "7", "0 to 401")
    whose = ("offline", "golden")
    streams = [("sliding_window", size, against) for size in chunks for against in whose]
    assert rows == [("offline", "800", "golden"), *streams]
    assert all(cell.passed for cell in report.replayed)
    assert report.max_error == max(
        cell.largest_difference for cell in report.replayed if cell.against == "golden"
    )


def test_the_bundles_own_table_is_told_and_an_older_one_has_none(
    make_bundle: Callable[..., Path], bundle: Path, tmp_path: Path
) -> None:
    assert check(bundle).verified == ()
    replayed = check(bundle).replayed
    table = {"verified": [cell.to_dict() for cell in replayed]}
    report = check(make_bundle(tmp_path / "b", measured=table))
    assert report.verified == replayed
    assert report.to_dict()["verified"] == table["verified"]
    strange = check(make_bundle(tmp_path / "c", measured={"verified": "by hand"}))
    assert strange.passed
    assert strange.verified == ()


def test_a_stream_that_answers_otherwise_fails(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Window.answer

    def forgetful(self: Window, hop: np.ndarray) -> np.ndarray:
        self.reset()
        return answer(self, hop)

    monkeypatch.setattr(Window, "answer", forgetful)
    report = check(bundle)
    assert not report.passed
    assert report.replayed[0].passed
    assert report.failed[0].place.startswith("model.onnx on onnxruntime")
    assert "in blocks of 800 samples" in report.failed[0].place


def test_memory_is_told_where_the_platform_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    held = np.ones(4 << 20)  # 32 MiB, all written
    peak = runtime.doctor.peak_memory_bytes()
    assert peak is None or held.nbytes < peak < 1 << 40
    monkeypatch.setitem(sys.modules, "resource", None)
    assert runtime.doctor.peak_memory_bytes() is None


def test_an_answer_over_the_tolerance_fails(
    make_bundle: Callable[..., Path], golden_bytes: Callable[..., bytes], tmp_path: Path
) -> None:
    other = golden_bytes(posteriors=np.zeros((2, 3), dtype=np.float32))
    report = check(make_bundle(tmp_path / "b", golden=other))
    assert not report.passed
    assert report.max_error > 0.3


def test_a_golden_that_the_graph_cannot_take_is_a_fault(
    make_bundle: Callable[..., Path], golden_bytes: Callable[..., bytes], tmp_path: Path
) -> None:
    other = golden_bytes(posteriors=np.zeros((2, 4), dtype=np.float32))
    with pytest.raises(BundleFault, match="4 columns"):
        check(make_bundle(tmp_path / "b", golden=other))


def test_a_golden_that_no_stream_takes_is_a_fault(
    make_bundle: Callable[..., Path],
    golden_bytes: Callable[..., bytes],
    expected_posteriors: Callable[[np.ndarray], np.ndarray],
    tmp_path: Path,
) -> None:
    loud = np.full((1, 800), 9.0, dtype=np.float32)
    other = golden_bytes(pcm=loud, posteriors=expected_posteriors(loud).astype(np.float32))
    with pytest.raises(BundleFault, match=r"b: float samples must lie in \[-1, 1\]"):
        check(make_bundle(tmp_path / "b", golden=other))


def test_a_damaged_bundle_has_no_report(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:-1])
    with pytest.raises(BundleFault, match=r"copy: model\.onnx was changed"):
        check(copy)
