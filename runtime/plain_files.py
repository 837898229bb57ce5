"""What a bundle's files may be called, and how much of one is read, from a folder or a zip."""

import re
from collections.abc import Iterable
from typing import IO

from .faults import BundleFault

_BLOCK_BYTES = 1 << 20
_DROPPINGS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_PLAIN_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
_DEVICE_NAME = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


def read_bounded(handle: IO[bytes], limit_bytes: int) -> bytes:
    """What is there, one byte past the limit at most, in blocks.

    A false size cannot ask for memory at once.
    """
    blocks, left_bytes = [], limit_bytes + 1
    while left_bytes and (block := handle.read(min(left_bytes, _BLOCK_BYTES))):
        blocks.append(block)
        left_bytes -= len(block)
    return b"".join(blocks)


def too_large(what: str, max_bytes: int) -> BundleFault:
    """The fault of more than `max_bytes` in all."""
    return BundleFault(f"over {max_bytes >> 20} MiB unpacked, more than {what} may hold")


def file_too_large(name: str, max_bytes: int) -> BundleFault:
    """The fault of one file over `max_bytes`."""
    return BundleFault(f"{name} is over {max_bytes >> 20} MiB, more than it may hold")


def is_dropping(name: str) -> bool:
    """True for what file managers leave behind: nothing reads it, so it is passed over."""
    return name in _DROPPINGS or name.startswith("._")


def check_file_names(names: Iterable[str]) -> None:
    """Refuse names that are paths, or that mean something else on another system.

    Raises:
        BundleFault: not 1 to 100 letters, digits, `.`, `_` and `-` with none of the three first and
            no `.` last; a device of Windows, such as `nul.onnx`; or two that differ in case alone.
    """
    seen: dict[str, str] = {}
    for name in names:
        if _PLAIN_NAME.fullmatch(name) is None or _DEVICE_NAME.fullmatch(name):
            raise BundleFault(
                f"{name[:100]!r} must be a plain file name: letters, digits, '.', '_' and '-', "
                "at most 100, and none that a system keeps for itself"
            )
        twin = seen.setdefault(name.lower(), name)
        if twin != name:
            raise BundleFault(f"{twin!r} and {name!r} are one file where case does not count")
