"""Libri-Light: up to 57,700 h of unlabelled read English, in recordings of many minutes.

Source: J. Kahn et al., arXiv:1912.07875; sizes, hours and MD5 digests as the README of
https://github.com/facebookresearch/libri-light states them (data_preparation).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DataError
from ..cuts import duration_of, recording_cut
from ..fetch import Archive, Checksum

if TYPE_CHECKING:
    from lhotse import MonoCut

LICENCE = "public domain (LibriVox)"


def _part(name: str, hours: float, about: str, md5: str) -> Archive:
    return Archive(
        url=f"https://dl.fbaipublicfiles.com/librilight/data/{name}.tar",
        hours=hours,
        about=about,
        checksum=Checksum("md5", md5, "data_preparation/README.md of libri-light"),
    )


PARTS = {
    "small": _part("small", 577.0, "35 GB", "c49207eb86a8e8ac895561c37232041e"),
    "medium": _part("medium", 5_193.0, "321 GB", "c75e7ac62471bfbf2db77528d62a9b74"),
    "large": _part("large", 51_934.0, "3.05 TB", "4dfbac018f50b99797ece101fc9f0c30"),
}


def cuts(root: Path) -> Iterator[MonoCut]:
    """Read SUBSET/SPEAKER/BOOK/*.flac, all of it `train`, without text.

    Where the .json beside a recording tells voice activity, its spans are kept as the
    supervision's alignment `voice`.

    Raises:
        DataError: no recordings, or metadata that is no JSON.
    """
    paths = sorted(path for part in PARTS for path in (root / part).glob("*/*/*.flac"))
    if not paths:
        raise DataError(
            f"{root} holds no SUBSET/SPEAKER/BOOK/*.flac with SUBSET one of {', '.join(PARTS)}; "
            "unpack an archive there"
        )
    for path in paths:
        yield _recording(root, path)


def _recording(root: Path, path: Path) -> MonoCut:
    from lhotse.supervision import AlignmentItem

    cut = recording_cut(
        path.relative_to(root).as_posix(),
        path,
        duration_s=duration_of(path),
        partition="train",
        speaker=path.parents[1].name,
    )
    metadata = path.with_suffix(".json")
    if metadata.is_file():
        try:
            spans = json.loads(metadata.read_text(encoding="utf-8")).get("voice_activity") or []
            voice = [AlignmentItem("", float(begin), float(end - begin)) for begin, end in spans]
        except (ValueError, TypeError, AttributeError):
            raise DataError(
                f"{metadata} is no metadata of Libri-Light; unpack it anew, or remove it"
            ) from None
        if voice:
            cut.supervisions[0].alignment = {"voice": voice}
    return cut
