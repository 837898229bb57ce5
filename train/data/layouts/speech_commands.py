"""Google Speech Commands as it is unpacked: WORD/SPEAKER_nohash_N.wav and the official lists.

Source: arXiv:1804.03209, section 6, and the data set's own README.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DataError
from ..cuts import SILENCE, duration_of, recording_cut, sorted_cuts

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut

NOISE_FOLDER = "_background_noise_"
WINDOW_S = 1.0
"""Seconds of a silence clip, those of a word."""
_LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}


def recognizes(root: Path) -> bool:
    """Both official lists are there."""
    return all((root / name).is_file() for name in _LISTS.values())


def read(root: Path) -> CutSet:
    """Take the official partitions, and silence from the background noises.

    A noise's first 80 % of windows are `train`, the next 10 % `valid`, the last `test`: the data
    set names no split of them, and windows do not overlap.

    Raises:
        DataError: no clip where the layout has them, or a clip that is not audio.
    """
    listed = {
        line.strip(): partition
        for partition, name in _LISTS.items()
        for line in (root / name).read_text(encoding="utf-8").splitlines()
    }
    paths = sorted(root.glob("*/*_nohash_*.wav"))
    if not paths:
        raise DataError(
            f"{root} has Speech Commands' lists but no WORD/SPEAKER_nohash_N.wav; unpack the "
            "archive there"
        )
    cuts = [_word(root, path, listed) for path in paths]
    for path in sorted((root / NOISE_FOLDER).glob("*.wav")):
        cuts.extend(_silence(root, path))
    return sorted_cuts(cuts)


def _word(root: Path, path: Path, listed: dict[str, str]) -> MonoCut:
    cut_id = path.relative_to(root).as_posix()
    return recording_cut(
        cut_id,
        path,
        duration_s=duration_of(path),
        partition=listed.get(cut_id, "train"),
        label=path.parent.name,
        speaker=path.name.partition("_nohash_")[0],
    )


def _silence(root: Path, path: Path) -> Iterator[MonoCut]:
    duration_s = duration_of(path)
    num_windows = int(duration_s / WINDOW_S)
    for index in range(num_windows):
        share = index / num_windows
        yield recording_cut(
            f"{path.relative_to(root).as_posix()}#{index:04d}",
            path,
            duration_s=duration_s,
            partition="train" if share < 0.8 else "valid" if share < 0.9 else "test",
            label=SILENCE,
            window_s=(index * WINDOW_S, WINDOW_S),
        )
