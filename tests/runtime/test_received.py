"""A bundle from anybody: whole, or one line that says what is wrong with it."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_steps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from runtime import BundleFault, Manifest, RuntimeFault, load
from runtime.bundle import MAX_MANIFEST_BYTES, file_digest, read_bundle
from runtime.cli import main
from runtime.doctor import check
from runtime.manifest import MANIFEST_FILE, digest_of

MIB = 1 << 20
AtMost = Callable[[float], AbstractContextManager[None]]
ReadOrRefused = Callable[..., Any]
Resealed = Callable[..., Path]


@pytest.fixture(scope="session")
def resealed(bundle: Path, make_manifest: Callable[..., Manifest]) -> Resealed:
    """A copy of the whole bundle with other files, every digest right."""

    def write(folder: Path, **files: bytes) -> Path:
        shutil.copytree(bundle, folder)
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_bytes(content)
        digests = {
            path.name: file_digest(path) for path in folder.iterdir() if path.name != MANIFEST_FILE
        }
        (folder / MANIFEST_FILE).write_text(make_manifest(digests).to_json(), encoding="utf-8")
        return folder

    return write


def _graph(nodes: list[onnx.NodeProto], *constants: TensorProto, opset: str = "") -> bytes:
    graph = helper.make_graph(
        nodes,
        "bad",
        [helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["batch", "samples"])],
        [helper.make_tensor_value_info("posteriors", TensorProto.FLOAT, ["batch", 3])],
        constants,
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(opset, 1)] if opset else [])]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def _with_weights(weights: TensorProto) -> bytes:
    """posteriors = mean(pcm) @ weights, (1, 3)."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceMean", ["pcm", "axes"], ["mean"], keepdims=1),
        helper.make_node("MatMul", ["mean", "weights"], ["posteriors"]),
    ]
    return _graph(nodes, axes, weights)


def _fault(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `doctor` says on its one line."""
    assert main(["doctor", str(path)]) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()
    return line


def test_an_unknown_operator_is_named(
    resealed: Resealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = helper.make_node("Evil\x1b]0;title\x07", ["pcm"], ["posteriors"], domain="elsewhere")
    path = resealed(tmp_path / "b", model__onnx=_graph([node], opset="elsewhere"))
    assert "Evil" in _fault(path, capsys)


def test_nan_weights_are_a_fault_and_no_posteriors(
    resealed: Resealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [1, 3], [float("nan")] * 3)
    path = resealed(tmp_path / "b", model__onnx=_with_weights(weights))
    assert "finite posteriors" in _fault(path, capsys)
    with pytest.raises(BundleFault, match="finite posteriors"):
        load(path).posteriors(np.zeros(800, dtype=np.float32))


@pytest.mark.parametrize("location", ["weights.bin", "./weights.bin", "../here/weights.bin", None])
def test_weights_outside_of_the_graph_are_not_found(
    resealed: Resealed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    location: str | None,
) -> None:
    """ONNX Runtime reads them from the working directory where nobody says otherwise."""
    here = tmp_path / "here"
    here.mkdir()
    np.ones(3, dtype=np.float32).tofile(here / "weights.bin")
    monkeypatch.chdir(here)
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[1, 3])
    weights.data_location = TensorProto.EXTERNAL
    where = location or str(here / "weights.bin")
    for key, value in (("location", where), ("offset", "0"), ("length", "12")):
        weights.external_data.add(key=key, value=value)
    path = resealed(tmp_path / "b", model__onnx=_with_weights(weights))
    with pytest.raises(BundleFault, match="cannot load the model"):
        load(path)


def test_a_manifest_that_is_too_large_is_not_parsed(
    bundle: Path, tmp_path: Path, at_most: AtMost
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / MANIFEST_FILE).write_bytes(b"[" + b"[]," * MAX_MANIFEST_BYTES + b"[]]")
    with at_most(4), pytest.raises(BundleFault, match=r"manifest\.json is over 1 MiB"):
        read_bundle(copy)
    archive = tmp_path / "b.zip"
    with zipfile.ZipFile(archive, "w") as handle:
        handle.write(copy / MANIFEST_FILE, MANIFEST_FILE)
    with at_most(4), pytest.raises(BundleFault, match=r"manifest\.json is over 1 MiB"):
        read_bundle(archive)


def test_what_is_not_listed_is_not_read(bundle: Path, tmp_path: Path, at_most: AtMost) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    with (copy / "film.mkv").open("wb") as handle:
        handle.truncate(64 * MIB)
    with at_most(4), pytest.raises(BundleFault, match=r"film\.mkv"):
        read_bundle(copy)


def test_a_bundle_over_the_limit_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size_bytes = sum((bundle / name).stat().st_size for name in ("model.onnx", "golden.npz"))
    monkeypatch.setattr("runtime.bundle.MAX_BUNDLE_BYTES", size_bytes)
    assert read_bundle(bundle).model
    monkeypatch.setattr("runtime.bundle.MAX_BUNDLE_BYTES", size_bytes - 1)
    with pytest.raises(BundleFault, match="more than a bundle may hold"):
        read_bundle(bundle)


def test_links_of_a_cache_are_followed_and_its_bytes_checked(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "b").mkdir()
    for number, path in enumerate(sorted(bundle.iterdir())):
        shutil.copy(path, tmp_path / "blobs" / str(number))
        (tmp_path / "b" / path.name).symlink_to(tmp_path / "blobs" / str(number))
    assert read_bundle(tmp_path / "b") == read_bundle(bundle)
    (tmp_path / "b" / "model.onnx").unlink()
    (tmp_path / "b" / "model.onnx").symlink_to("/dev/zero")
    with pytest.raises(BundleFault, match="not a file"):
        read_bundle(tmp_path / "b")


def test_a_schema_of_another_major_version_is_refused_before_anything_else(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / MANIFEST_FILE).write_text('{"schema_version": "2.0", "unheard": "of"}')
    assert "schema_version 2.0 is not readable here" in _fault(copy, capsys)


def test_codes_for_a_terminal_are_shown_and_not_sent(
    manifest_raw: dict, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    raw = manifest_raw | {"\x1b[31mred": 1}
    raw["digest"] = digest_of(raw)
    (copy / MANIFEST_FILE).write_text(json.dumps(raw))
    assert "unknown key" in _fault(copy, capsys)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_golden_under_a_right_digest_is_replayed_or_refused(
    resealed: Resealed,
    golden_bytes: Callable[..., bytes],
    tmp_path_factory: pytest.TempPathFactory,
    read_or_refused: ReadOrRefused,
    data: st.DataObject,
) -> None:
    content = bytearray(golden_bytes())
    for place in data.draw(st.lists(st.integers(-500, 400), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = resealed(tmp_path_factory.mktemp("fuzz") / "b", golden__npz=bytes(content))
    golden = read_or_refused(lambda: read_bundle(path).golden())
    assert golden is None or golden.pcm.shape[0] == golden.posteriors.shape[0]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_golden_of_a_model_with_states_is_examined_or_refused(
    tmp_path_factory: pytest.TempPathFactory, read_or_refused: ReadOrRefused, data: st.DataObject
) -> None:
    """Of any rows and lengths, well-formed: what is read can be replayed."""
    num_samples = data.draw(st.sampled_from([1, 199, 200, 400, 600, 1_200]))
    shapes = {"pcm": (data.draw(st.integers(1, 2)), num_samples)}
    shapes["posteriors"] = (data.draw(st.integers(1, 6)), data.draw(st.sampled_from([3, 3, 2])))
    arrays = {name: np.full(shape, 0.1, dtype=np.float32) for name, shape in shapes.items()}
    content = tiny_steps.golden(**arrays)
    folder = tmp_path_factory.mktemp("goldens") / "b"
    bundle = read_bundle(tiny_steps.write_bundle(folder, {"golden.npz": content}))
    golden = read_or_refused(bundle.golden)
    fits = shapes["pcm"] == (1, 200 * shapes["posteriors"][0]) and shapes["posteriors"][1] == 3
    assert (golden is not None) is fits


def test_states_that_turn_into_no_numbers_are_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = np.full((2, 3), np.nan, dtype=np.float32)
    graph = tiny_steps.step_graph(200, weights=weights)
    path = tiny_steps.write_bundle(tmp_path / "b", {"model.onnx": graph})
    assert "finite posteriors" in _fault(path, capsys)


def test_a_golden_name_leaves_no_zip(tmp_path: Path) -> None:
    """A graph's own arrays are named with a dot: a slash would be a folder."""
    content = tiny_steps.golden(**{"model.onnx/posteriors": np.zeros((6, 3), dtype=np.float32)})
    path = tiny_steps.write_bundle(tmp_path / "b", {"golden.npz": content})
    with pytest.raises(BundleFault, match="leaves its own folder"):
        read_bundle(path).golden()


@settings(max_examples=100)
@given(data=st.data())
def test_any_member_of_a_zip_may_be_anything(
    bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
    read_or_refused: ReadOrRefused,
    data: st.DataObject,
) -> None:
    """Well-formed zips of well-named files with any bytes in them, whole files among these."""
    whole = {path.name: path.read_bytes() for path in bundle.iterdir()}
    names = data.draw(st.lists(st.sampled_from([*whole, "other", "a.json"]), unique=True))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            kept = data.draw(st.sampled_from([True, True, False]))
            content = whole.get(name) if kept else None
            archive.writestr(name, data.draw(st.binary()) if content is None else content)
    path = tmp_path_factory.mktemp("zips") / "b.zip"
    path.write_bytes(buffer.getvalue())
    read = read_or_refused(lambda: read_bundle(path))
    assert read is None or read == read_bundle(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "manifest.json"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_named(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    share: float,
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: int(share * len(content))])
    assert name in _fault(copy, capsys)
    with pytest.raises(RuntimeFault):
        check(copy)
