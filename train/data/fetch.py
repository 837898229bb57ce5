"""Archives from the network: downloaded with resume, verified, unpacked without surprises.

lhotse's own `resumable_download` checks no digest and trusts servers to honour ranges; this does
not. Nothing carries its final name before it is whole.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from ..errors import DataError

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60.0
_ATTEMPTS = 6
"""In a row without a single new byte."""
_LONGEST_PAUSE_S = 60.0
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which another try may succeed."""
_MARKERS = ".unpacked"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checksum:
    """What an archive's bytes must hash to, and who says so."""

    algorithm: Literal["md5", "sha256"]
    hexadecimal: str
    source: str
    """Where the publisher, or a library that checks the same file, states it."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A part of a corpus as its publisher offers it."""

    url: str
    hours: float
    """Of audio, as the publisher counts it."""
    size_bytes: int | None = None
    """None: only `about` is known."""
    about: str = ""
    """The publisher's rounded size."""
    checksum: Checksum | None = None
    """None: no source states one, and the archive cannot be verified."""

    @property
    def file_name(self) -> str:
        """Last part of the address."""
        return self.url.rpartition("/")[2]


class _InterruptedError(Exception):
    """The connection broke, or the server is busy: to be tried again."""


def is_url(source: str) -> bool:
    """Whether it is read over HTTP."""
    return source.startswith(("http://", "https://"))


def download(
    url: str,
    path: Path,
    *,
    checksum: Checksum | None,
    size_bytes: int | None = None,
    progress: bool = True,
    pause_s: float = 1.0,
) -> str:
    """Bring a file here, going on where an earlier call stopped.

    Bytes arrive in `NAME.part`, which stays when the connection breaks for good and is renamed
    when it is right. A broken connection is tried again after 1, 2, 4, … s, six times without a
    new byte. A server that ignores ranges is read from the start.

    Args:
        url: http or https.
        path: of the finished file; one that is there is verified, not loaded again.
        checksum: None: the file is not verified.
        size_bytes: exact size, where it is known.
        progress: show a bar on standard error.
        pause_s: the first pause.

    Returns:
        SHA-256 of the file where there is no checksum, else the verified digest.

    Raises:
        DataError: the server has no such file, does not answer, or gives another file than it
            should; the wrong bytes are dropped.
        OSError: the disk is full or the folder cannot be written.
    """
    algorithm = checksum.algorithm if checksum else "sha256"
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        digest = hashlib.new(algorithm, usedforsecurity=False)
        _add_file(digest, path)
        _check(digest, path, path, checksum, size_bytes)
        return digest.hexdigest()
    with _bar(path.name, size_bytes, progress) as advance:
        digest = _all_of(url, part, algorithm, pause_s, advance)
    _check(digest, part, path, checksum, size_bytes)
    part.replace(path)
    return digest.hexdigest()


def read_url(url: str, pause_s: float = 1.0) -> bytes:
    """Read a file that fits memory, with the same patience.

    Raises:
        DataError: the server has no such file or does not answer.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(min(pause_s * 2 ** (attempt - 1), _LONGEST_PAUSE_S))
        try:
            with _opened(url, 0) as response:
                data = b"".join(_chunks(response))
                stated = response.headers.get("Content-Length")
                if stated is None or int(stated) == len(data):
                    return data
                fault = f"{len(data)} of {stated} bytes came"
        except _InterruptedError as interruption:
            fault = str(interruption)
    raise DataError(_gave_up(url, fault))


def unpack(archive: Path, folder: Path, *, name: str, progress: bool = True) -> None:
    """Unpack a tar below `folder`, once.

    It is unpacked beside its place and then moved, what is there already being replaced; a marker
    says that all of it is there. Members that leave the folder, links out of it and devices are
    refused, as Python's `data` filter does.

    Args:
        archive: .tar, .tar.gz and the like.
        folder: made where it is missing.
        name: of the marker; a second call with it does nothing.
        progress: show a bar on standard error.

    Raises:
        DataError: a member that would leave the folder, or an archive that is damaged.
        OSError: the disk is full or the folder cannot be written.
    """
    if unpacked(folder, name):
        return
    if not hasattr(tarfile, "data_filter"):
        raise DataError("this Python unpacks archives without checks; take 3.11.4 or later")
    temporary = folder / f".unpacking-{name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with _bar(name, archive.stat().st_size, progress) as advance:
            _extract(archive, temporary, advance)
        _move_into(temporary, folder)
        marker = folder / _MARKERS / name
        marker.parent.mkdir(exist_ok=True)
        marker.touch()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unpacked(folder: Path, name: str) -> bool:
    """Whether `unpack` has finished with it."""
    return (folder / _MARKERS / name).is_file()


def _all_of(
    url: str, part: Path, algorithm: str, pause_s: float, advance: Callable[[int, int | None], None]
) -> _Hash:
    """Append to `part` until it is whole; the digest of all of it."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    if part.is_file():
        _add_file(digest, part)
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            with _opened(url, before) as response:
                start, total = _place(response, before)
                if start != before:
                    digest = hashlib.new(algorithm, usedforsecurity=False)
                _append(response, part, start, total, digest, advance)
            return digest
        except _InterruptedError as fault:
            grown = part.is_file() and part.stat().st_size > before
            failures = 0 if grown else failures + 1
            if failures >= _ATTEMPTS:
                raise DataError(_gave_up(url, str(fault))) from None
            pause = min(pause_s * 2 ** max(failures - 1, 0), _LONGEST_PAUSE_S)
            _logger.info("%s: %s; trying again in %g s", url, fault, pause)
            time.sleep(pause)


@contextmanager
def _opened(url: str, start: int) -> Iterator[Any]:
    headers = {"User-Agent": "otolite", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S
        )
    except urllib.error.HTTPError as fault:
        if fault.code == 416 and start:
            # Either everything is here already, or what is here belongs to another file.
            response = fault
        elif fault.code in _AGAIN:
            raise _InterruptedError(f"the server answers {fault.code}") from None
        else:
            raise DataError(
                f"{url} cannot be had: the server answers {fault.code} {fault.reason}; check the "
                "address"
            ) from None
    except (OSError, http.client.HTTPException) as fault:
        raise _InterruptedError(str(getattr(fault, "reason", "") or fault)) from None
    except ValueError as fault:
        raise DataError(f"{url} is no address that can be loaded ({fault})") from None
    with response:
        yield response


def _place(response: Any, asked: int) -> tuple[int, int | None]:
    """Where the answer's bytes belong, and the size of the whole file where it is said."""
    stated = response.headers.get("Content-Range", "")
    unit, _, span = stated.partition(" ")
    span, _, whole = span.partition("/")
    total = int(whole) if unit == "bytes" and whole.isdecimal() else None
    if response.status == 416:
        if total == asked:
            return asked, total
        return 0, None
    first = span.partition("-")[0]
    if response.status == 206 and first.isdecimal() and int(first) == asked:
        return asked, total
    length = response.headers.get("Content-Length")
    return 0, int(length) if length is not None else None


def _append(
    response: Any,
    part: Path,
    start: int,
    total: int | None,
    digest: _Hash,
    advance: Callable[[int, int | None], None],
) -> None:
    if response.status == 416:
        if start:
            return  # nothing is missing
        part.unlink()
        raise _InterruptedError("the part that was here is longer than the file; starting over")
    done = start
    advance(done, total)
    with part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        for chunk in _chunks(response):
            stream.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            advance(done, total)
    if total is not None and done != total:
        raise _InterruptedError(f"the connection ended after {done:,} of {total:,} bytes")


def _chunks(response: Any) -> Iterator[bytes]:
    """The answer's bytes; what the network does wrong is told apart from what the disk does."""
    while True:
        try:
            # read1 hands over what is there: a connection that dies keeps what came before.
            chunk = response.read1(_CHUNK_BYTES)
        except http.client.IncompleteRead as fault:
            raise _InterruptedError("the connection broke") from fault
        except (OSError, http.client.HTTPException) as fault:
            raise _InterruptedError(f"the connection broke ({fault})") from fault
        if not chunk:
            return
        yield chunk


def _check(
    digest: _Hash, held: Path, path: Path, checksum: Checksum | None, size_bytes: int | None
) -> None:
    """Drop a file that is not the one it should be."""
    found, size = digest.hexdigest(), held.stat().st_size
    if checksum is not None and found != checksum.hexadecimal:
        wrong = f"its {checksum.algorithm} is {found}, not {checksum.hexadecimal}"
    elif checksum is None and size_bytes is not None and size != size_bytes:
        wrong = f"it has {size:,} bytes, not {size_bytes:,}"
    else:
        return
    held.unlink()
    raise DataError(f"{path.name} is not the published file: {wrong}; it was dropped. Call again")


def _extract(archive: Path, folder: Path, advance: Callable[[int, int | None], None]) -> None:
    try:
        with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
            for member in tar:
                tar.extract(member, folder, filter="data")
                advance(stream.tell(), None)
    except tarfile.FilterError as fault:
        raise DataError(
            f"{archive} is not safe to unpack ({fault}); get it from its publisher"
        ) from None
    except (tarfile.TarError, EOFError, zlib.error) as fault:
        raise DataError(
            f"{archive} is damaged ({fault}); remove it and call again to load it anew"
        ) from None


def _move_into(source: Path, target: Path) -> None:
    """Move what lies in `source` to the same place in `target`, folders that are there merged."""
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_dir() and not path.is_symlink() and place.is_dir():
            _move_into(path, place)
        else:
            path.replace(place)


def _add_file(digest: _Hash, path: Path) -> None:
    with path.open("rb") as stream:
        _update(digest, stream)


def _update(digest: _Hash, stream: BinaryIO) -> None:
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)


def _gave_up(url: str, reason: str) -> str:
    return f"{url} does not come ({reason}); what is here already is kept: call again later"


@contextmanager
def _bar(
    name: str, total: int | None, progress: bool
) -> Iterator[Callable[[int, int | None], None]]:
    """A bar in bytes; call it with what is done and, where it is news, the total."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns,
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (progress and console.is_terminal),
    ) as bar:
        task = bar.add_task(name, total=total)
        yield lambda done, news: bar.update(task, completed=done, total=news or total)
