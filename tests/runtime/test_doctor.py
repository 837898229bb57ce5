"""Doctor: what it finds on this machine."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import runtime.doctor
from runtime import BundleFault
from runtime.doctor import check


@pytest.fixture(autouse=True)
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.doctor, "_MAX_WINDOWS", 3)


def test_a_whole_bundle_passes(bundle: Path) -> None:
    report = check(bundle)
    assert report.passed
    assert 0.0 <= report.max_error <= report.tolerance == pytest.approx(1e-5)
    assert report.engine.startswith("onnxruntime ")
    assert report.hop_ms == 12.5
    assert report.real_time_factor == report.window_ms / 12.5
    assert report.to_dict()["passed"] is True


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


def test_a_damaged_bundle_has_no_report(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:-1])
    with pytest.raises(BundleFault, match=r"copy: model\.onnx was changed"):
        check(copy)
