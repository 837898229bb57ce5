"""A folder with a cuts.jsonl.gz: lhotse's own manifest, as `compress prepare` writes it."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.atomic import replacing_file

from ...errors import DataError
from ..cuts import PARTITIONS, hashed_share, sorted_cuts

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut

NAME = "cuts.jsonl.gz"


def recognizes(root: Path) -> bool:
    """There is a cuts.jsonl.gz."""
    return (root / NAME).is_file()


def read(root: Path) -> CutSet:
    """Read the manifest; no recording is opened.

    Audio is looked for where its source says, seen from the folder. Supervisions keep all they
    have, alignments too. A cut without `partition` gets one as in manifest.csv: 80, 10 and 10 % by
    the SHA-1 of the speaker, or of the id where no speaker is named.

    Raises:
        DataError: a line that is no cut of one audio file with one channel, a file that is
            missing, an id that is there twice, an unknown partition, or an empty manifest.
    """
    seen: dict[str, int] = {}
    cuts = []
    for number, line in _lines(root / NAME):
        where = f"{root / NAME}, line {number}"
        cut = _cut(root, line, where)
        if seen.setdefault(cut.id, number) != number:
            raise DataError(
                f"{where} repeats {cut.id!r} of line {seen[cut.id]}; remove one of the two"
            )
        cuts.append(cut)
    if not cuts:
        raise DataError(f"{root / NAME} has no lines; prepare the corpus anew")
    return sorted_cuts(cuts)


def write(cuts: Iterable[MonoCut], root: Path) -> CutSet:
    """Write the manifest, audio named relative to the folder, and give what `read` would.

    Raises:
        OSError: the folder cannot be written.
    """
    # Both resolved: a relative path from behind a symbolic link would lead elsewhere.
    base = root.resolve()
    with (
        replacing_file(root / NAME) as temporary,
        temporary.open("wb") as stream,
        gzip.GzipFile(fileobj=stream, mode="wb", filename="", mtime=0) as packed,
    ):
        for cut in sorted(cuts, key=lambda cut: str(cut.id)):
            described = cut.to_dict()
            path = Path(described["recording"]["sources"][0]["source"]).resolve()
            name = Path(os.path.relpath(path, base)).as_posix()
            described["recording"]["sources"][0]["source"] = name
            described["recording"]["id"] = name
            for supervision in described.get("supervisions", []):
                supervision["recording_id"] = name
            line = json.dumps(described, ensure_ascii=False) + "\n"
            packed.write(line.encode())
    return read(root)


def _lines(manifest: Path) -> Iterator[tuple[int, str]]:
    try:
        with gzip.open(manifest, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as fault:
        raise DataError(
            f"{manifest} is no gzipped text in UTF-8 ({fault}); prepare the corpus anew"
        ) from None


def _cut(root: Path, line: str, where: str) -> MonoCut:
    from lhotse import MonoCut

    try:
        described: dict[str, Any] = json.loads(line)
        if described.get("type", "MonoCut") != "MonoCut":
            raise TypeError(f"it is a {described['type']}")
        cut = MonoCut.from_dict(described)
        (source,) = cut.recording.sources
        if cut.recording.num_channels != 1 or source.type != "file" or cut.recording.transforms:
            # A `command` would be run, transforms would be left out, channels be averaged.
            raise TypeError(f"its audio is of type {source.type!r}, transformed or multi-channel")
        if not 0.0 <= cut.start < cut.start + cut.duration:
            raise ValueError(f"it starts at {cut.start} and lasts {cut.duration} s")
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as fault:
        reason = " ".join(str(fault).split()) or type(fault).__name__
        raise DataError(
            f"{where} is no cut of one audio file with one channel ({reason}); correct or remove it"
        ) from None
    path = root / str(source.source)
    if not path.is_file():
        raise DataError(f"{where}: {path} does not exist; add the recording or remove the line")
    source.source = str(path)
    cut.recording.id = str(path)
    for supervision in cut.supervisions:
        supervision.recording_id = str(path)
    cut.custom = {**(cut.custom or {}), "partition": _partition(cut, where)}
    return cut


def _partition(cut: MonoCut, where: str) -> str:
    named = (cut.custom or {}).get("partition")
    if named is None:
        speaker = cut.supervisions[0].speaker if cut.supervisions else None
        share = hashed_share(speaker or cut.id)
        return "train" if share < 0.8 else "valid" if share < 0.9 else "test"
    if named not in PARTITIONS:
        raise DataError(
            f"{where}: partition {named!r} is none of {', '.join(PARTITIONS)}; write one of them"
        )
    return str(named)
