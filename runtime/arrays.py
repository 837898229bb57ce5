"""Read the arrays of an .npz that came from elsewhere: numbers only, never a pickle."""

import io
import math

import numpy as np
from numpy.lib import format as npy

from .faults import BundleFault, one_line

_MAX_HEADER_BYTES = 1024
_MAX_DIMENSIONS = 8
_KINDS = "biuf"
"""Booleans, integers and floats. Objects are pickles; text and records have no place here."""


def read_arrays(data: bytes, *, what: str, max_bytes: int) -> dict[str, np.ndarray]:
    """Every array of an .npz by name.

    `numpy.load` makes room for the shape that a header claims before it reads the numbers; here a
    claim must fit the bytes that are there.

    Args:
        data: the bytes of an .npz, packed or not.
        what: it should be, with its article, for messages: "a golden pair".
        max_bytes: most bytes of all arrays together.

    Raises:
        BundleFault: no whole .npz, too large, a claimed shape that its bytes do not fill, or an
            array that is empty or of anything but numbers.
    """
    from .archive import open_zip  # not for a stream: zipfile takes a megabyte of memory

    with open_zip(data, what=what, max_bytes=max_bytes) as files:
        return {
            name.removesuffix(".npy"): _array(name, files.read(name))
            for name in files.names
            if name.endswith(".npy")
        }


def _array(name: str, data: bytes) -> np.ndarray:
    handle = io.BytesIO(data)
    try:
        if npy.read_magic(handle) != (1, 0):
            raise ValueError("it is not of .npy version 1.0")
        shape, fortran_order, dtype = npy.read_array_header_1_0(
            handle, max_header_size=_MAX_HEADER_BYTES
        )
    # The header is a Python literal, and a broken one surfaces as nearly anything.
    except Exception as error:
        raise BundleFault(f"{name} has no readable header: {one_line(error)}") from error
    if dtype.kind not in _KINDS or dtype.names is not None:
        raise BundleFault(f"{name} holds {one_line(dtype)}, and only numbers are read")
    wanted_bytes, there_bytes = math.prod(shape) * dtype.itemsize, len(data) - handle.tell()
    fits = len(shape) <= _MAX_DIMENSIONS and all(size > 0 for size in shape)
    if not fits or wanted_bytes != there_bytes:
        raise BundleFault(
            f"{name} claims the shape {one_line(shape)} of {dtype}, and {there_bytes} bytes follow"
        )
    flat = np.frombuffer(data, dtype=dtype, offset=handle.tell())
    return flat.reshape(shape, order="F" if fortran_order else "C").copy()
