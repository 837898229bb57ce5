"""Read a zip of plain files into memory, whatever its headers claim."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from .faults import BundleFault

DROPPINGS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""File managers leave these behind. Nothing reads them, so they are no reason to refuse a file."""
_MAX_ENTRIES = 1000
_BLOCK_BYTES = 1 << 20
_ENCRYPTED = 0x1


def read_zip(path: Path, *, what: str, max_bytes: int) -> dict[str, bytes]:
    """Every file of a zip by name; nothing is extracted.

    Args:
        path: a zip with the files at its root or in one folder.
        what: it should be, with its article, for messages: "a bundle".
        max_bytes: most bytes, packed and unpacked: a zip may claim anything.

    Raises:
        BundleFault: not a whole zip, too large, or an entry that is encrypted, there twice or
            outside of the folder.
        OSError: the file cannot be read.
    """
    if path.stat().st_size > max_bytes:
        raise too_large(what, max_bytes)
    try:
        with zipfile.ZipFile(path) as archive:
            names = _plain_names(archive.infolist(), what)
            files: dict[str, bytes] = {}
            left_bytes = max_bytes
            for info, name in names:
                with archive.open(info) as handle:
                    files[name] = read_bounded(handle, left_bytes)
                if len(files[name]) > left_bytes:
                    raise too_large(what, max_bytes)
                left_bytes -= len(files[name])
            return files
    # Every way in which zipfile reports damage: it has no base class of its own.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _not_a_zip(error, what) from error
    except (RuntimeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise _not_a_zip(error, what) from error


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
    """The fault of more than `max_bytes`."""
    return BundleFault(f"over {max_bytes >> 20} MiB unpacked, more than {what} may hold")


def _plain_names(
    entries: Iterable[zipfile.ZipInfo], what: str
) -> list[tuple[zipfile.ZipInfo, str]]:
    """Pair entries with file names; a zip may wrap everything in one folder."""
    infos = [
        info
        for info in entries
        if not info.is_dir()
        and not info.filename.startswith("__MACOSX/")
        and info.filename.rsplit("/", 1)[-1] not in DROPPINGS
    ]
    if len(infos) > _MAX_ENTRIES:
        raise BundleFault(f"holds {len(infos)} files, and {what} holds at most {_MAX_ENTRIES}")
    folders = {info.filename.rpartition("/")[0] for info in infos}
    folder = folders.pop() if len(folders) == 1 else ""
    named: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.rpartition("/")[2] if folder else info.filename
        if folder in (".", "..") or "/" in folder or "/" in name or "\\" in info.filename:
            raise BundleFault(f"entry {info.filename!r} leaves its own folder")
        if name in named:
            raise BundleFault(f"entry {name!r} is there twice")
        if info.flag_bits & _ENCRYPTED:
            raise BundleFault(f"entry {name!r} is encrypted; make the zip again without a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleFault(f"entry {name!r} is neither stored nor deflated; zip it again")
        named[name] = info
    return [(info, name) for name, info in named.items()]


def _not_a_zip(error: Exception, what: str) -> BundleFault:
    reason = " ".join(str(error).split())[:200]
    return BundleFault(f"no whole zip, and so not {what}: {reason}")
