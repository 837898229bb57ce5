"""A folder with a manifest.csv: path, label or text, speaker, split, duration, phones.

A phones.jsonl beside it aligns recordings with their phones.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ...errors import DataError
from .. import phones
from ..cuts import PARTITIONS, duration_of, hashed_share, recording_cut, sorted_cuts
from ..said import with_phones

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut

NAME = "manifest.csv"
_ALIASES = {
    "training": "train",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "testing": "test",
    "eval": "test",
}


@dataclass(frozen=True)
class _Row:
    path: str
    label: str
    speaker: str
    partition: str
    duration_s: float | None
    """None: not in the manifest, the file's header tells it."""
    phones: str


def recognizes(root: Path) -> bool:
    """There is a manifest.csv."""
    return (root / NAME).is_file()


def read(root: Path) -> CutSet:
    """Read the manifest; recordings are opened only where it has no duration.

    Only `path` is required. `label`, or else `text`, becomes the supervision's text. `split` may
    be `train`, `valid`, `test` or a usual synonym; without the column, 80, 10 and 10 % by the
    SHA-1 of the speaker, or of the file's stem where no speaker is named. `phones` are those that
    are said, in ARPAbet with blanks between them, where a lexicon would not know.

    Raises:
        DataError: no path column; a path that is missing, leaves the folder or is there twice;
            an unknown split or phone; a duration that is no positive number; a manifest without
            rows; a line of phones.jsonl that cannot be right.
    """
    rows = list(_rows(root / NAME))
    if not rows:
        raise DataError(f"{root / NAME} has no rows; add one for each recording")
    cuts = []
    for row in rows:
        path = root / row.path
        duration_s = row.duration_s if row.duration_s is not None else duration_of(path)
        cut = recording_cut(
            row.path,
            path,
            duration_s=duration_s,
            partition=row.partition,
            label=row.label,
            speaker=row.speaker,
        )
        cuts.append(with_phones(cut, row.phones.split()) if row.phones else cut)
    if (root / phones.NAME).is_file():
        _align(cuts, root / phones.NAME)
    return sorted_cuts(cuts)


def _align(cuts: list[MonoCut], path: Path) -> None:
    """Put phones into the supervisions of the cuts that have some."""
    from lhotse.supervision import AlignmentItem

    found = phones.read_phones(path, {cut.id: cut.duration for cut in cuts})
    for cut in cuts:
        if cut.id in found:
            items = [AlignmentItem(*phone) for phone in found[cut.id]]
            cut.supervisions = [cut.supervisions[0].with_alignment("phone", items)]


def _rows(manifest: Path) -> Iterator[_Row]:
    seen: dict[str, int] = {}
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            _check_columns(manifest, reader.fieldnames or [])
            for number, fields in enumerate(reader, start=1):
                where = f"{manifest}, row {number}"
                row = _row(manifest.parent, fields, where)
                first = seen.setdefault(row.path, number)
                if first != number:
                    raise DataError(
                        f"{where} repeats {row.path!r} of row {first}; remove one of the two"
                    )
                yield row
    except (UnicodeDecodeError, csv.Error) as fault:
        raise DataError(
            f"{manifest} is no CSV text in UTF-8 ({fault}); save it as one again"
        ) from None


def _check_columns(manifest: Path, columns: Sequence[str]) -> None:
    if "path" in columns:
        return
    near = difflib.get_close_matches("path", [name.lower() for name in columns], n=1, cutoff=0.5)
    usual = next((name for name in columns if name.lower() in ("file", "filename", "audio")), None)
    nearest = next((name for name in columns if near and name.lower() == near[0]), usual)
    hint = f"did you mean {nearest!r}? Rename it" if nearest else "add it"
    raise DataError(
        f"{manifest} has no column 'path' among {', '.join(columns) or 'none'}: {hint} "
        "(columns: path, label or text, speaker, split, duration, phones)"
    )


def _row(root: Path, fields: Mapping[str, str | None], where: str) -> _Row:
    values = {name: (text or "").strip() for name, text in fields.items() if isinstance(name, str)}
    path = PurePosixPath(values["path"])
    if not values["path"] or path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{where}: path {values['path']!r} must name a file below {root}; "
            "write it relative to the manifest, without '..'"
        )
    if not (root / path).is_file():
        raise DataError(
            f"{where}: {root / path} does not exist; add the recording or remove the row"
        )
    speaker = values.get("speaker", "")
    return _Row(
        path=path.as_posix(),
        label=values.get("label") or values.get("text", ""),
        speaker=speaker,
        partition=_partition(values.get("split"), speaker or path.stem, where),
        duration_s=_duration(values.get("duration"), where),
        phones=values.get("phones", ""),
    )


def _partition(split: str | None, key: str, where: str) -> str:
    if split is None:
        share = hashed_share(key)
        return "train" if share < 0.8 else "valid" if share < 0.9 else "test"
    partition = _ALIASES.get(split.lower(), split.lower())
    if partition not in PARTITIONS:
        raise DataError(
            f"{where}: split {split!r} is none of {', '.join(PARTITIONS)}; write one of them, "
            "or leave the column out for a split by speaker"
        )
    return partition


def _duration(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        duration_s = float(text)
    except ValueError:
        duration_s = -1.0
    if not 0.0 < duration_s < 1e6:
        raise DataError(
            f"{where}: duration {text!r} is not a positive number of seconds; correct it, or "
            "leave it empty to read it from the file"
        )
    return duration_s
