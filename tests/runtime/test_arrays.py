"""Arrays from elsewhere: numbers whose shapes fit their bytes, or a refusal."""

import io
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from runtime.arrays import read_arrays
from runtime.faults import BundleFault

MIB = 1 << 20
LATIN = st.characters(max_codepoint=255)
AtMost = Callable[[float], AbstractContextManager[None]]
ReadOrRefused = Callable[..., Any]


def _read(data: bytes, max_bytes: int = MIB) -> dict[str, np.ndarray]:
    return read_arrays(data, what="a golden pair", max_bytes=max_bytes)


def _npz(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An .npz of one array with any header."""
    text = header.encode("latin-1")
    npy = b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + content
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", npy)
    return buffer.getvalue()


def _header(shape: Any = (2,), descr: Any = "<f4", order: bool = False) -> str:
    return repr({"descr": descr, "fortran_order": order, "shape": shape})


@given(
    array=arrays_of.arrays(
        st.sampled_from(["<f4", "<f8", "<i8", "|u1", "|b1", ">f4"]),
        arrays_of.array_shapes(min_dims=0, max_dims=4, max_side=3),
    ),
    packed=st.booleans(),
    fortran=st.booleans(),
)
def test_arrays_come_back_as_they_were(array: np.ndarray, packed: bool, fortran: bool) -> None:
    buffer = io.BytesIO()
    save = np.savez_compressed if packed else np.savez
    save(buffer, a=np.array(array, order="F" if fortran else "C"), b=np.arange(3))
    read = _read(buffer.getvalue())
    np.testing.assert_array_equal(read["a"], array)
    assert read["a"].dtype == array.dtype
    assert read["a"].shape == array.shape
    np.testing.assert_array_equal(read["b"], np.arange(3))


@pytest.mark.parametrize(
    "header",
    [
        _header((1 << 40,)),
        _header((1 << 62, 1 << 62)),
        _header((-1, -2)),
        _header((0,)),
        _header((1,) * 70),
        _header((2,), "<f8"),
        _header((2,), "|O"),
        _header((2,), "<U1"),
        _header((2,), [("a", "<f4")]),
        _header((2.0,)),
        _header((10**400,)),
        "{" * 900,
        "(" * 900,
        "__import__('os')",
        _header() + " " * 2000,
    ],
)
def test_a_header_that_claims_what_is_not_there_is_refused(at_most: AtMost, header: str) -> None:
    with at_most(2), pytest.raises(BundleFault, match=r"a\.npy") as caught:
        _read(_npz(header, bytes(8)))
    assert str(caught.value).isprintable()


def test_another_version_and_too_many_bytes_are_refused() -> None:
    assert _read(_npz(_header(), bytes(8)))["a"].shape == (2,)
    with pytest.raises(BundleFault, match="version"):
        _read(_npz(_header(), bytes(8), version=b"\x02\x00"))
    with pytest.raises(BundleFault, match="over 1 MiB"):
        _read(_npz(_header((MIB,), "|u1"), bytes(MIB)))


@settings(max_examples=200)
@given(data=st.data())
def test_a_changed_file_is_arrays_or_one_line(
    read_or_refused: ReadOrRefused, data: st.DataObject
) -> None:
    changed = bytearray(_npz(_header((4, 8)), bytes(128)))
    for place in data.draw(st.lists(st.integers(0, len(changed) - 1), min_size=1, max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    _check(bytes(changed), read_or_refused)


@settings(max_examples=300)
@given(data=st.data())
def test_a_changed_header_is_an_array_or_one_line(
    read_or_refused: ReadOrRefused, data: st.DataObject
) -> None:
    """The zip's checksum is right, so that each change reaches the header's own parser."""
    header = list(_header((4, 8)))
    for place in data.draw(st.lists(st.integers(0, len(header) - 1), min_size=1, max_size=6)):
        header[place] = data.draw(st.sampled_from("0123456789(){}[],:'<>|fiubOSU -\0\x1b") | LATIN)
    _check(_npz("".join(header), bytes(128)), read_or_refused)


def _check(data: bytes, read_or_refused: ReadOrRefused) -> None:
    read = read_or_refused(lambda: _read(data), mib=2)
    assert read is None or all(array.nbytes <= 128 for array in read.values())
