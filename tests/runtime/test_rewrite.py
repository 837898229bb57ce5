"""A bundle gets another decision, whole or not at all."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import MANIFEST_FILE, SCHEMA_VERSION, Manifest, read_bundle
from runtime.faults import BundleFault
from runtime.manifest import digest_of
from runtime.rewrite import write_decision, write_file
from runtime.stream import load


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def _seal_as(folder: Path, version: str) -> None:
    raw = json.loads((folder / MANIFEST_FILE).read_text()) | {"schema_version": version}
    raw["digest"] = digest_of(raw)
    (folder / MANIFEST_FILE).write_text(json.dumps(raw))


def test_new_thresholds_decide_from_then_on(copy: Path, speech: Callable[..., np.ndarray]) -> None:
    _seal_as(copy, "1.0")
    before = load(copy)
    waveform = 0.18 * speech((0.1, "yes"), duration_s=0.5)  # a posterior of 0.96
    assert len(before.stream().push(waveform)) == 1
    decision = dataclasses.replace(before.manifest.decision, thresholds={"yes": 0.99})
    written = write_decision(copy, decision, measured={"alarms_per_hour": 0.5})
    after = load(copy)
    assert after.manifest == written
    assert after.manifest == dataclasses.replace(
        before.manifest,
        decision=decision,
        measured={**before.manifest.measured, "alarms_per_hour": 0.5},
        schema_version=SCHEMA_VERSION,
        digest=written.digest,
    )
    assert after.stream().push(waveform) == []
    assert sorted(entry.name for entry in copy.iterdir()) == [
        "golden.npz", MANIFEST_FILE, "model.onnx",
    ]  # fmt: skip


def test_a_refused_decision_changes_nothing(copy: Path) -> None:
    before = (copy / MANIFEST_FILE).read_bytes()
    decision = Manifest.from_json(before.decode()).decision
    with pytest.raises(BundleFault, match="must overlap"):
        write_decision(copy, dataclasses.replace(decision, patience=9))
    with pytest.raises(BundleFault, match="cannot be written as JSON"):
        write_decision(copy, decision, measured={"det": np.zeros(3)})
    assert (copy / MANIFEST_FILE).read_bytes() == before


def test_what_cannot_be_rewritten_says_what_to_do(copy: Path, tmp_path: Path) -> None:
    decision = read_bundle(copy).manifest.decision
    archive = shutil.make_archive(str(tmp_path / "keywords"), "zip", copy)
    with pytest.raises(BundleFault, match=r"Unpack it \(unzip .*keywords.zip"):
        write_decision(archive, decision)
    _seal_as(copy, "1.9")
    with pytest.raises(BundleFault, match=r"1\.9 is newer .* Update the runtime"):
        write_decision(copy, decision)
    (copy / "golden.npz").write_bytes(b"changed")
    with pytest.raises(BundleFault, match="was changed or damaged"):
        write_decision(copy, decision)
    with pytest.raises(BundleFault, match="no such bundle"):
        write_decision(tmp_path / "absent", decision)


def test_a_file_is_put_in_and_sealed_and_an_older_one_replaced(copy: Path) -> None:
    before = read_bundle(copy)
    for data in (b"one", b"another"):
        written = write_file(copy, "grades.npz", data, measured={"grades": 1})
        after = read_bundle(copy)
        assert after.manifest == written
        assert after.files == {**before.files, "grades.npz": data}
    assert written.measured == {**before.manifest.measured, "grades": 1}
    assert written.streaming == before.manifest.streaming


def test_a_file_that_no_bundle_may_hold_changes_nothing(copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(BundleFault):
        write_file(copy, "../grades.npz", b"")
    (copy / "model.onnx").write_bytes(b"changed")
    with pytest.raises(BundleFault, match="changed or damaged"):
        write_file(copy, "grades.npz", b"")
    (copy / "model.onnx").write_bytes(before["model.onnx"])
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
