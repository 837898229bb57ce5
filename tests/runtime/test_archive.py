"""Zips from elsewhere: read in memory within bounds, or refused in words."""

import io
import struct
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.archive import open_zip, read_zip
from runtime.faults import BundleFault
from runtime.plain_files import check_file_names

MIB = 1 << 20
WHAT = "a bundle"
LINK_MODE = 0o120777 << 16


AtMost = Callable[[float], AbstractContextManager[None]]
ReadOrRefused = Callable[..., Any]


def _zip(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _read(data: bytes, max_bytes: int = 8 * MIB) -> dict[str, bytes]:
    with open_zip(data, what=WHAT, max_bytes=max_bytes) as files:
        return {name: files.read(name) for name in files.names}


def _claiming(data: bytes, size_bytes: int) -> bytes:
    """The zip with another unpacked size in each header of its first entry."""
    changed = bytearray(data)
    struct.pack_into("<I", changed, 22, size_bytes)
    struct.pack_into("<I", changed, changed.index(b"PK\x01\x02") + 24, size_bytes)
    return bytes(changed)


def test_a_zip_gives_its_files_from_a_path_and_from_bytes(tmp_path: Path) -> None:
    wanted = {"a.txt": b"one", "b": b"", "c-d_e.bin": bytes(range(256)) * 9}
    data = _zip(*((f"folder/{name}", content) for name, content in wanted.items()))
    (tmp_path / "a.zip").write_bytes(data)
    assert _read(data) == wanted
    assert read_zip(tmp_path / "a.zip", what=WHAT, max_bytes=MIB) == wanted


@pytest.mark.parametrize("name", ["../evil", "/evil", "//evil", "a/b/evil", "..\\evil", "a/../b"])
def test_a_name_that_is_a_path_leaves_its_folder(name: str) -> None:
    with pytest.raises(BundleFault, match="leaves its own folder"):
        _read(_zip(("good", b"x"), (name, b"x")))


@pytest.mark.parametrize("folder", ["..", ".", "/x", "x/y", "//"])
def test_a_wrapping_folder_is_one_plain_folder(folder: str) -> None:
    with pytest.raises(BundleFault, match="leaves its own folder"):
        _read(_zip((f"{folder}/a", b"x"), (f"{folder}/b", b"x")))


@pytest.mark.parametrize(
    "name", ["nul", "CON.onnx", "com1.txt", "a:b", "C:evil", "a\x1b[2Jb", "a b", ".hidden", "a."]
)
def test_a_name_that_some_system_cannot_keep_is_refused_without_its_codes(name: str) -> None:
    with pytest.raises(BundleFault, match="plain file name") as caught:
        _read(_zip(("good", b"x"), (name, b"x")))
    assert str(caught.value).isprintable()


def test_a_name_twice_or_in_two_cases_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = _zip(("a", b"x"), ("a", b"y"))
    with pytest.raises(BundleFault, match="'a' is there twice"):
        _read(twice)
    with pytest.raises(BundleFault, match="case does not count"):
        _read(_zip(("Model.onnx", b"x"), ("model.onnx", b"y")))


def test_a_link_is_not_followed() -> None:
    link = zipfile.ZipInfo("model.onnx")
    link.external_attr = LINK_MODE
    with pytest.raises(BundleFault, match=r"'model\.onnx' is a link"):
        _read(_zip((link, b"/etc/passwd")))


def test_what_another_packer_left_is_passed_over() -> None:
    droppings = ("__MACOSX/._a", ".DS_Store", "x/Thumbs.db", "._a")
    assert _read(_zip(("a", b"x"), *((name, b"y") for name in droppings))) == {"a": b"x"}


def test_an_encrypted_or_oddly_packed_entry_says_what_to_do() -> None:
    data = bytearray(_zip(("a", b"x")))
    place = data.index(b"PK\x01\x02")
    data[place + 8] |= 1
    with pytest.raises(BundleFault, match="without a password"):
        _read(bytes(data))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"x")
    with pytest.raises(BundleFault, match="zip it again"):
        _read(buffer.getvalue())


def test_an_entry_without_a_name_or_a_place_is_refused() -> None:
    data = _zip(("a", b"x"), ("b", b"y"))
    nameless = data.replace(b"a", b"\0")
    with pytest.raises(BundleFault, match="'' must be a plain file name"):
        _read(nameless)
    displaced = bytearray(data)
    place = data.index(b"PK\x05\x06") + 16  # the directory's offset: all others are told by it
    struct.pack_into("<I", displaced, place, struct.unpack_from("<I", data, place)[0] + 9)
    with pytest.raises(BundleFault, match="before the start of the file"):
        _read(bytes(displaced))


def test_a_bomb_is_refused_before_it_is_unpacked(at_most: AtMost) -> None:
    bomb = _zip(("a", bytes(64 * MIB)))
    with at_most(2), pytest.raises(BundleFault, match="over 100 times its own size"):
        _read(bomb, max_bytes=512 * MIB)
    with at_most(2), pytest.raises(BundleFault, match="over 8 MiB unpacked"):
        _read(bomb)


def test_a_bomb_that_claims_to_be_small_is_refused(at_most: AtMost) -> None:
    bomb = _claiming(_zip(("a", bytes(64 * MIB))), 1000)
    with at_most(4), pytest.raises(BundleFault, match="CRC"):
        _read(bomb, max_bytes=512 * MIB)


def test_a_small_file_that_claims_to_be_huge_is_refused(at_most: AtMost) -> None:
    with at_most(2), pytest.raises(BundleFault, match="unpack"):
        _read(_claiming(_zip(("a", b"x")), 0xFFFF_FFF0), max_bytes=512 * MIB)


def test_many_entries_over_the_same_bytes_share_one_limit(at_most: AtMost) -> None:
    """Overlapping entries: each is within its own bounds, and together they are not."""
    data = _zip(("a0", bytes(MIB)))
    place = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[place:end]
    count = 40
    directory = b"".join(entry.replace(b"a0", b"%02d" % number) for number in range(count))
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, count, count, len(directory))
    with at_most(4), pytest.raises(BundleFault):
        _read(data[:place] + directory + bytes(tail), max_bytes=512 * MIB)


def test_the_files_share_the_limit() -> None:
    noise = bytes(range(256)) * 3000
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("a", noise)
        archive.writestr("b", noise)
    with (
        open_zip(stored.getvalue(), what=WHAT, max_bytes=2 * MIB) as files,
        pytest.raises(BundleFault, match="a is over 0 MiB"),
    ):
        files.read("a", max_bytes=1000)
    assert len(_read(stored.getvalue(), max_bytes=2 * MIB)) == 2
    with pytest.raises(BundleFault, match="over 1 MiB unpacked"):
        _read(stored.getvalue(), max_bytes=MIB)


def test_an_endless_directory_is_refused_before_it_is_listed(at_most: AtMost) -> None:
    with at_most(100):
        data = _zip(*((f"{number:060d}", b"") for number in range(12_000)))
    with at_most(8), pytest.raises(BundleFault, match="directory is over 1 MiB"):
        _read(data)
    with pytest.raises(BundleFault, match="holds 1001 files"):
        _read(_zip(*((str(number), b"") for number in range(1001))))


def test_plain_names_are_taken() -> None:
    check_file_names(["model.onnx", "golden.npz", "attention.384.6.onnx", "k_cache-0", "console"])


@settings(max_examples=300)
@given(data=st.binary(max_size=400))
def test_any_bytes_are_refused_in_one_line(read_or_refused: ReadOrRefused, data: bytes) -> None:
    assert read_or_refused(lambda: _read(b"PK\x03\x04" + data)) is None


@settings(max_examples=300)
@given(data=st.data())
def test_a_changed_zip_gives_the_same_files_or_one_line(
    read_or_refused: ReadOrRefused, data: st.DataObject
) -> None:
    whole = {"manifest.json": b"{}" * 40, "model.onnx": bytes(range(256)), "zeros": bytes(3000)}
    changed = bytearray(_zip(*whole.items()))
    headers = [place for place in range(len(changed)) if changed[place : place + 2] == b"PK"]
    for _ in range(data.draw(st.integers(1, 4))):
        # Half of the changes hit a header, where the sizes, names and offsets are.
        place = data.draw(st.sampled_from(headers)) + data.draw(st.integers(0, 60))
        place = data.draw(st.sampled_from([place, data.draw(st.integers(0, len(changed) - 1))]))
        changed[min(place, len(changed) - 1)] = data.draw(st.integers(0, 255))
    read = read_or_refused(lambda: _read(bytes(changed)))
    # A name is in no checksum, and a bundle's manifest says which names there must be.
    assert read is None or set(read.values()) <= set(whole.values())
