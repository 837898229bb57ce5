"""Bundles as folders and zips: whole or refused."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bundle import read_bundle, read_golden
from runtime.faults import BundleFault


def _zip(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, prefix + file.name)
    return target


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@pytest.mark.parametrize("prefix", ["", "keywords/"])
def test_a_zip_is_read_as_its_folder(bundle: Path, tmp_path: Path, prefix: str) -> None:
    assert read_bundle(_zip(bundle, tmp_path / "b.zip", prefix)) == read_bundle(bundle)


def test_what_file_managers_leave_is_passed_over(copy: Path, tmp_path: Path) -> None:
    (copy / ".DS_Store").write_bytes(b"x")
    whole = read_bundle(copy)
    assert set(whole.files) == {"model.onnx", "golden.npz"}
    archive = _zip(copy, tmp_path / "b.zip")
    with zipfile.ZipFile(archive, "a") as handle:
        handle.writestr("__MACOSX/._model.onnx", "x")
    assert read_bundle(archive) == whole


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "manifest.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleFault, match=f"copy: .*{name}"):
        read_bundle(copy)


def test_an_unlisted_file_is_named(copy: Path) -> None:
    (copy / "notes.txt").write_text("x")
    with pytest.raises(BundleFault, match=r"notes\.txt"):
        read_bundle(copy)


def test_a_folder_inside_is_refused(copy: Path) -> None:
    (copy / "deeper").mkdir()
    with pytest.raises(BundleFault, match="deeper"):
        read_bundle(copy)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_byte_in_any_file_is_refused_or_leaves_the_meaning(
    bundle: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = read_bundle(bundle)
    name = data.draw(st.sampled_from(["model.onnx", "golden.npz", "manifest.json"]))
    content = bytearray((bundle / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    changed = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("flip") / "bundle"))
    (changed / name).write_bytes(content)
    try:
        read = read_bundle(changed)
    except BundleFault:
        return
    assert name == "manifest.json"
    assert read == whole


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_zip_is_refused_or_whole(
    bundle: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("zips") / "b.zip"
    content = bytearray(_zip(bundle, path).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        read = read_bundle(path)
    except BundleFault:
        return
    assert read == read_bundle(bundle)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/b/evil", "..\\evil", "sub/../../evil"])
def test_a_zip_entry_outside_the_folder_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    archive = _zip(bundle, tmp_path / "b.zip")
    with zipfile.ZipFile(archive, "a") as handle:
        handle.writestr(name, "x")
    with pytest.raises(BundleFault, match="leaves"):
        read_bundle(archive)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 10])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(BundleFault, match=r"b\.zip"):
        read_bundle(tmp_path / "b.zip")


@pytest.mark.parametrize("name", ["absent", "nul\0byte"])
def test_a_path_without_a_bundle_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleFault):
        read_bundle(tmp_path / name)
    with pytest.raises(BundleFault, match=r"no manifest\.json"):
        read_bundle(tmp_path)


def test_golden_holds_what_was_stored(
    bundle: Path, expected_posteriors: Callable[[np.ndarray], np.ndarray]
) -> None:
    golden = read_bundle(bundle).golden()
    np.testing.assert_allclose(golden.posteriors, expected_posteriors(golden.pcm), atol=1e-6)
    assert golden.tolerance == pytest.approx(1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"pcm": None},
        {"pcm": np.zeros((2, 8))},
        {"pcm": np.full((2, 8), np.nan, dtype=np.float32)},
        {"pcm": np.zeros((0, 8), dtype=np.float32)},
        {"posteriors": np.zeros(3, dtype=np.float32)},
        {"pcm": np.array([object()], dtype=object)},
        {"pcm": np.zeros((2, 8), dtype=">f4")},
        {"tolerance": np.float32(-1)},
        {"tolerance": np.float32("nan")},
        {"tolerance": np.array([object()], dtype=object)},
    ],
)
def test_a_golden_of_anything_else_is_refused(
    golden_bytes: Callable[..., bytes], changes: dict[str, Any]
) -> None:
    with pytest.raises(BundleFault, match=r"golden\.npz"):
        read_golden(golden_bytes(**changes), "model.onnx")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_golden_is_refused_in_words(
    golden_bytes: Callable[..., bytes], data: st.DataObject
) -> None:
    content = bytearray(golden_bytes())
    # The header and the central directory; damage to the samples is the zip's CRC to find.
    for place in data.draw(st.lists(st.integers(-400, 300), min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        golden = read_golden(bytes(content), "model.onnx")
    except BundleFault:
        return
    assert golden.pcm.ndim == 2


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["pcm", "posteriors", "tolerance"])
def test_a_golden_is_never_unpickled(
    golden_bytes: Callable[..., bytes], tmp_path: Path, name: str
) -> None:
    trapped = golden_bytes(**{name: np.array([Trap(tmp_path / "sprung")], dtype=object)})
    with pytest.raises(BundleFault, match="cannot be read"):
        read_golden(trapped, "model.onnx")
    assert not (tmp_path / "sprung").exists()


def test_a_golden_npy_is_not_an_npz() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    with pytest.raises(BundleFault, match=r"golden\.npz"):
        read_golden(buffer.getvalue(), "model.onnx")


def test_a_golden_for_other_labels_is_refused(
    make_bundle: Callable[..., Path], golden_bytes: Callable[..., bytes], tmp_path: Path
) -> None:
    four = golden_bytes(posteriors=np.full((2, 4), 0.25, dtype=np.float32))
    with pytest.raises(BundleFault, match="4 columns"):
        read_bundle(make_bundle(tmp_path / "b", golden=four)).golden()


def test_a_golden_of_more_answers_than_recordings_is_refused(
    make_bundle: Callable[..., Path], golden_bytes: Callable[..., bytes], tmp_path: Path
) -> None:
    three = golden_bytes(posteriors=np.zeros((3, 3), dtype=np.float32))
    with pytest.raises(BundleFault, match=r"3 rows, and pcm .* has 2 answers"):
        read_bundle(make_bundle(tmp_path / "b", golden=three)).golden()
