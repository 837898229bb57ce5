"""Make a corpus ready: download, verify, unpack, describe, and write tar shards if asked."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import DataError, RecipeError
from ..nearest import nearest
from . import corpora
from .cuts import PARTITIONS
from .fetch import Archive, download, unpack, unpacked
from .layouts import cuts as manifest

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut

ALL = "all"
"""Asks for every part."""
SHARDS = "shards"
"""Folder of the shards below the corpus, one folder a partition in it."""

_logger = logging.getLogger(__name__)


class Corpus(Protocol):
    """What a file of `corpora` has."""

    LICENCE: str
    PARTS: Mapping[str, Archive]

    def cuts(self, root: Path) -> Iterable[MonoCut]:
        """Read what the archives unpack to."""


def corpus_names() -> list[str]:
    """Every corpus with a recipe, by name."""
    return sorted(module.name for module in pkgutil.iter_modules(corpora.__path__))


def get_corpus(name: str) -> Corpus:
    """Find a corpus by name.

    Raises:
        RecipeError: there is none; the message names the nearest.
    """
    known = corpus_names()
    if name not in known:
        raise RecipeError(f"unknown corpus {name!r}: {nearest(name, known)}")
    return cast(Corpus, importlib.import_module(f"{corpora.__name__}.{name}"))


def chosen_parts(name: str, asked: Sequence[str]) -> dict[str, Archive]:
    """The archives to load, with their names.

    Raises:
        RecipeError: an unknown part, or none asked where there are several.
    """
    parts = get_corpus(name).PARTS
    if ALL in asked or (not asked and len(parts) < 2):
        return dict(parts)
    if not asked:
        raise RecipeError(
            f"{name} has {len(parts)} parts, {_size(parts.values())} of archives together: name "
            f"those you want with --part ({', '.join(parts)}), or --part {ALL}"
        )
    for part in asked:
        if part not in parts:
            raise RecipeError(f"{name} has no part {part!r}: {nearest(part, parts)}")
    return {part: parts[part] for part in dict.fromkeys(asked)}


def plan(
    name: str,
    out: Path,
    *,
    asked: Sequence[str] = (),
    source: Path | None = None,
    mirror: str | None = None,
) -> dict[str, Any]:
    """What `prepare` would do with the same arguments; without named parts, for all there are.

    Nothing is loaded or written; a tree is read.
    """
    corpus = get_corpus(name)
    _check(name, asked, source, mirror)
    if source is not None:
        cuts = list(corpus.cuts(source))
        return {"corpus": name, "licence": corpus.LICENCE, "from": str(source), **_counted(cuts)}
    parts = chosen_parts(name, asked or [ALL])
    rows: dict[str, dict[str, Any]] = {}
    for part, archive in parts.items():
        checksum = archive.checksum
        rows[part] = {
            "url": _address(archive, mirror),
            **({"size_bytes": archive.size_bytes} if archive.size_bytes else {}),
            **({"size": f"about {archive.about}"} if archive.about else {}),
            "hours": archive.hours,
            "verified_by": "nothing: no checksum is known"
            if checksum is None
            else f"{checksum.algorithm} {checksum.hexadecimal} ({checksum.source})",
            "unpacked": unpacked(out, part),
        }
    hours = round(sum(archive.hours for archive in parts.values()), 1)
    return {"corpus": name, "licence": corpus.LICENCE, "parts": rows, "hours": hours}


def prepare(
    name: str,
    out: Path,
    *,
    asked: Sequence[str] = (),
    source: Path | None = None,
    mirror: str | None = None,
    seconds_per_shard: float | None = None,
    seed: int = 0,
    keep_archives: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Load what is missing and describe the corpus, so that `read_corpus(out)` reads it.

    An archive is removed once it is unpacked. A call that was stopped goes on when it is repeated,
    and a call for a further part keeps those that are there.

    Args:
        name: of a file of `corpora`.
        out: folder of the corpus.
        asked: parts, or `all`.
        source: a tree that is unpacked already; nothing is downloaded, `out` points to it.
        mirror: address that the archives lie under, instead of the publisher's.
        seconds_per_shard: also write tar shards of this duration below `out`; None: do not.
        seed: of the shards' shuffle.
        keep_archives: leave them in `out/archives`.
        progress: show bars on standard error.

    Raises:
        RecipeError: an unknown corpus or part, or a source together with parts.
        DataError: an archive that cannot be had or verified, or a tree that is not the corpus.
        OSError: the disk is full or the folder cannot be written.
    """
    corpus = get_corpus(name)
    unverified: dict[str, str] = {}
    _check(name, asked, source, mirror)
    if source is None:
        for part, archive in chosen_parts(name, asked).items():
            digest = _bring(part, archive, out, mirror, keep_archives, progress)
            if digest is not None and archive.checksum is None:
                unverified[archive.file_name] = digest
    out.mkdir(parents=True, exist_ok=True)
    cuts = manifest.write(corpus.cuts(source or out), out)
    result: dict[str, Any] = {"corpus": str(out), "licence": corpus.LICENCE, **_counted(cuts)}
    if unverified:
        result["unverified_sha256"] = unverified
    if seconds_per_shard is not None:
        result[SHARDS] = _shards(cuts, out / SHARDS, seconds_per_shard, seed, progress)
    return result


def _check(name: str, asked: Sequence[str], source: Path | None, mirror: str | None) -> None:
    """Refuse flags that do not go together."""
    if source is not None and (asked or mirror):
        raise RecipeError("--from names what is unpacked: leave out --part and --mirror")
    if source is None and not get_corpus(name).PARTS:
        raise RecipeError(f"{name} is not downloaded: say where it lies, with --from")


def _bring(
    part: str, archive: Archive, out: Path, mirror: str | None, keep: bool, progress: bool
) -> str | None:
    """Download and unpack a part; its digest, or None where it is unpacked already."""
    if unpacked(out, part):
        return None
    path = out / "archives" / archive.file_name
    url = _address(archive, mirror)
    try:
        digest = download(
            url,
            path,
            checksum=archive.checksum,
            size_bytes=archive.size_bytes,
            progress=progress,
        )
    except DataError as fault:
        raise DataError(f"{fault}, or name another --mirror") from None
    if archive.checksum is None:
        _logger.warning(
            "%s cannot be verified: no checksum of it is published; its sha256 is %s", url, digest
        )
    unpack(path, out, name=part, progress=progress)
    if not keep:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    return digest


def _address(archive: Archive, mirror: str | None) -> str:
    return archive.url if mirror is None else f"{mirror.rstrip('/')}/{archive.file_name}"


def _size(archives: Iterable[Archive]) -> str:
    """Archives' sizes in words, those known exactly added up."""
    listed = list(archives)
    exact = sum(archive.size_bytes or 0 for archive in listed)
    about = [archive.about for archive in listed if archive.size_bytes is None]
    return " and ".join([*([f"{exact / 1e9:.0f} GB"] if exact else []), *about])


def _counted(cuts: Iterable[MonoCut]) -> dict[str, Any]:
    durations: dict[str, list[float]] = {partition: [] for partition in PARTITIONS}
    for cut in cuts:
        durations[cut.custom["partition"]].append(cut.duration)
    return {
        partition: {"recordings": len(seconds), "hours": round(sum(seconds) / 3600, 3)}
        for partition, seconds in durations.items()
        if seconds
    }


def _shards(
    cuts: CutSet, folder: Path, seconds_per_shard: float, seed: int, progress: bool
) -> dict[str, int]:
    """Write each partition's shards; how many."""
    from .selection import partition_of
    from .shards import write_shards

    written = {}
    for partition in PARTITIONS:
        chosen = partition_of(cuts, partition)
        if len(chosen):
            shards = write_shards(
                chosen,
                folder / partition,
                seconds_per_shard=seconds_per_shard,
                seed=seed,
                progress=progress,
            )
            written[partition] = len(shards)
    if not written:
        raise DataError("there are no recordings to write as shards")
    return written
