"""Read a zip of plain files in memory: nothing is extracted, and no header is believed."""

import io
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .faults import BundleFault, one_line
from .plain_files import check_file_names, file_too_large, is_dropping, read_bounded, too_large

_MAX_ENTRIES = 1000
_MAX_RATIO = 100
"""Most unpacked bytes for a packed one: weights do not reach 2, zeros reach 1000."""
_RATIO_SLACK_BYTES = 1 << 20
"""Unpacked bytes that need no packed ones: a small file of repeated text is no attack."""
_BLOCK_BYTES = 1 << 20
_ENCRYPTED = 0x1


class ZipFiles:
    """The files of an open zip, by name; `open_zip` makes it.

    All reads together give at most `max_bytes`, and at most 100 times the zip's own size.
    """

    def __init__(self, archive: zipfile.ZipFile, *, what: str, max_bytes: int, size_bytes: int):
        self._archive = archive
        self._what = what
        self._max_bytes = max_bytes
        self._spent_bytes = 0
        self._most_unpacked_bytes = _RATIO_SLACK_BYTES + _MAX_RATIO * size_bytes
        with _translating(what):
            self._entries = _plain_entries(archive.infolist(), what)

    @property
    def names(self) -> tuple[str, ...]:
        """Every file, without the folder that may wrap them all."""
        return tuple(self._entries)

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """One file's bytes, its checksum right.

        Args:
            name: one of `names`.
            max_bytes: most bytes of this file; None: what is left of the zip's own limit.

        Raises:
            BundleFault: damaged or too large; a size that is claimed counts as one that is there.
        """
        entry = self._entries[name]
        left_bytes = self._max_bytes - self._spent_bytes
        limit_bytes = left_bytes if max_bytes is None else min(max_bytes, left_bytes)
        unpacking_bytes = self._most_unpacked_bytes - self._spent_bytes
        if entry.file_size > limit_bytes:
            raise self._too_large(name, max_bytes)
        if entry.file_size > unpacking_bytes:
            raise BundleFault(
                f"unpacks to over {_MAX_RATIO} times its own size, as no model does. "
                "Take it from its folder if you trust it."
            )
        with _translating(self._what), self._archive.open(entry) as handle:
            data = read_bounded(handle, min(limit_bytes, unpacking_bytes))
        if len(data) > min(limit_bytes, unpacking_bytes):
            raise self._too_large(name, max_bytes)
        self._spent_bytes += len(data)
        return data

    def _too_large(self, name: str, max_bytes: int | None) -> BundleFault:
        if max_bytes is not None and max_bytes < self._max_bytes:
            return file_too_large(name, max_bytes)
        return too_large(self._what, self._max_bytes)


@contextmanager
def open_zip(source: Path | bytes, *, what: str, max_bytes: int) -> Iterator[ZipFiles]:
    """Open a zip and check its directory; files are unpacked as they are asked for.

    Args:
        source: a zip, or its bytes, with the files at its root or in one folder.
        what: it should be, with its article, for messages: "a bundle".
        max_bytes: most bytes, packed and unpacked.

    Raises:
        BundleFault: not a whole zip, too large, or an entry that is encrypted, a link, there twice,
            outside of the folder or of a name that some system cannot keep.
        OSError: the file cannot be read.
    """
    raw = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb", buffering=0)
    with _Frugal(raw) as handle:
        size_bytes = handle.seek(0, io.SEEK_END)
        if size_bytes > max_bytes:
            raise too_large(what, max_bytes)
        with _translating(what):
            archive = zipfile.ZipFile(handle)
        with archive:
            yield ZipFiles(archive, what=what, max_bytes=max_bytes, size_bytes=size_bytes)


def read_zip(path: Path, *, what: str, max_bytes: int) -> dict[str, bytes]:
    """Every file of a zip by name; arguments and faults are `open_zip`'s."""
    with open_zip(path, what=what, max_bytes=max_bytes) as files:
        return {name: files.read(name) for name in files.names}


def _plain_entries(entries: Iterable[zipfile.ZipInfo], what: str) -> dict[str, zipfile.ZipInfo]:
    """Entries by file name; a zip may wrap everything in one folder."""
    infos = [
        info
        for info in entries
        if not info.filename.endswith("/")
        and not info.filename.startswith("__MACOSX/")
        and not is_dropping(info.filename.rpartition("/")[2])
    ]
    if len(infos) > _MAX_ENTRIES:
        raise BundleFault(f"holds {len(infos)} files, and {what} holds at most {_MAX_ENTRIES}")
    folders = {info.filename.rpartition("/")[0] for info in infos}
    folder = folders.pop() if len(folders) == 1 else ""
    named: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.rpartition("/")[2] if folder else info.filename
        shown = repr(info.filename[:100])
        if folder in (".", "..") or "/" in folder or "/" in name or "\\" in info.filename:
            raise BundleFault(f"entry {shown} leaves its own folder")
        if name in named:
            raise BundleFault(f"entry {shown} is there twice")
        if info.header_offset < 0:
            raise zipfile.BadZipFile(f"entry {shown} lies before the start of the file")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise BundleFault(f"entry {shown} is a link; zip the file that it leads to")
        if info.flag_bits & _ENCRYPTED:
            raise BundleFault(f"entry {shown} is encrypted; make the zip again without a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleFault(f"entry {shown} is neither stored nor deflated; zip it again")
        named[name] = info
    check_file_names(named)
    return named


class _Frugal(io.BufferedReader):
    """A file that gives at most 1 MiB a read.

    `zipfile` reads a zip's directory at once and makes an object of each entry, 20 times its size,
    before anybody could count them. 1 MiB is a directory of over 5,000 files.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file's; without a size, up to the end.

        Raises:
            BadZipFile: over 1 MiB was asked for, or lies up to the end.
        """
        wanted_bytes = -1 if size is None else size
        if wanted_bytes > _BLOCK_BYTES:
            raise _large_directory()
        data = super().read(_BLOCK_BYTES + 1 if wanted_bytes < 0 else wanted_bytes)
        if len(data) > _BLOCK_BYTES:
            raise _large_directory()
        return data


def _large_directory() -> zipfile.BadZipFile:
    return zipfile.BadZipFile(f"its directory is over {_BLOCK_BYTES >> 20} MiB")


@contextmanager
def _translating(what: str) -> Iterator[None]:
    """Every way in which zipfile reports damage, as one fault: it has no base class of its own."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        IndexError,
        KeyError,
        OverflowError,
    ) as error:
        raise BundleFault(f"no whole zip, and so not {what}: {one_line(error)}") from error
