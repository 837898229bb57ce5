"""Any folder of audio: every recording below it, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DataError
from ..cuts import (
    AUDIO_SUFFIXES,
    audio_files,
    duration_of,
    hashed_share,
    recording_cut,
    sorted_cuts,
)

if TYPE_CHECKING:
    from lhotse import CutSet

VALID_SHARE = 0.1
"""Share of the recordings that is held out."""


def recognizes(root: Path) -> bool:
    """Always: what no other layout knows is a folder."""
    return root.is_dir()


def read(root: Path) -> CutSet:
    """Give a tenth of the recordings to `valid`, by the SHA-1 of their stems, the rest to `train`.

    Raises:
        DataError: no audio below the folder, or a file that is not audio.
    """
    paths = audio_files(root)
    if not paths:
        endings = ", ".join(AUDIO_SUFFIXES)
        raise DataError(
            f"{root} holds no audio: no file below it ends in {endings}; "
            "name a folder of recordings, or one with a manifest.csv"
        )
    shares = {path: hashed_share(path.stem) for path in paths}
    held_out = {path for path, share in shares.items() if share < VALID_SHARE}
    if not held_out and len(paths) > 1:
        held_out = {min(paths, key=shares.__getitem__)}
    elif len(held_out) == len(paths):
        held_out.remove(max(paths, key=shares.__getitem__))
    return sorted_cuts(
        recording_cut(
            path.relative_to(root).as_posix(),
            path,
            duration_s=duration_of(path),
            partition="valid" if path in held_out else "train",
        )
        for path in paths
    )
