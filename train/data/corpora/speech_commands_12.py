"""Google Speech Commands v0.02 as twelve classes: ten words, `_unknown_` and `_silence_`.

The test partition is the publisher's own archive of 4,890 clips. Training and validation follow
TensorFlow's speech_commands example: `_unknown_` and `_silence_` are each a tenth as many clips as
the ten words have. It draws stretches of the background noises anew in every update; here they are
fixed windows, and those of the two partitions do not overlap.

Source: P. Warden, arXiv:1804.03209, section 7; tensorflow/examples/speech_commands/input_data.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DataError
from ..cuts import SILENCE, UNKNOWN, duration_of, hashed_share, label_of, recording_cut
from ..fetch import Archive, Checksum
from ..layouts import speech_commands as layout
from . import speech_commands as words

if TYPE_CHECKING:
    from lhotse import MonoCut

LICENCE = words.LICENCE
PARTS = {
    **words.PARTS,
    "test_v0.02": Archive(
        url="https://storage.googleapis.com/download.tensorflow.org/data/"
        "speech_commands_test_set_v0.02.tar.gz",
        hours=1.4,
        size_bytes=112_563_277,
        checksum=Checksum(
            "sha256",
            "cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df",
            "several public benchmarks of keyword spotting that check the same file",
        ),
    ),
}
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_RATIO = 0.1
"""Clips of `_unknown_`, and of `_silence_`, for each clip of a keyword."""
_HOP_S = 0.1
"""From one window of a background noise to the next."""
_NOISES = {"train": (0.0, 0.8), "valid": (0.8, 1.0)}
"""Which part of each background noise a partition has."""


def cuts(root: Path) -> Iterable[MonoCut]:
    """Read both archives, unpacked over one another.

    Raises:
        DataError: one of the two is not there.
    """
    tested = [root / UNKNOWN, root / SILENCE]
    if not all(folder.is_dir() for folder in tested):
        raise DataError(
            f"{root} lacks {UNKNOWN} or {SILENCE}, which the test set's archive has; unpack it "
            "there, or prepare with --part all"
        )
    read = [cut for cut in words.cuts(root) if label_of(cut) not in (UNKNOWN, SILENCE)]
    for cut in read:
        if label_of(cut) in KEYWORDS:
            yield cut
    for folder in tested:
        for path in sorted(folder.glob("*.wav")):
            yield _clip(root, path, "test", folder.name)
    for partition in _NOISES:
        inside = [cut for cut in read if cut.custom["partition"] == partition]
        others = [cut for cut in inside if label_of(cut) not in KEYWORDS]
        wanted = ceil(_RATIO * (len(inside) - len(others)))
        for cut in _some(others, wanted):
            path = Path(cut.recording.sources[0].source)
            yield _clip(root, path, partition, UNKNOWN, str(cut.supervisions[0].speaker))
        yield from _some(list(_windows(root, partition)), wanted)


def _clip(root: Path, path: Path, partition: str, label: str, speaker: str = "") -> MonoCut:
    cut_id = path.relative_to(root).as_posix()
    return recording_cut(
        cut_id,
        path,
        duration_s=duration_of(path),
        partition=partition,
        label=label,
        speaker=speaker or path.name.partition("_nohash_")[0] * ("_nohash_" in path.name),
    )


def _windows(root: Path, partition: str) -> Iterator[MonoCut]:
    """Every window of the background noises that lies in a partition's part of them."""
    for path in sorted((root / layout.NOISE_FOLDER).glob("*.wav")):
        duration_s = duration_of(path)
        first, end = (share * duration_s for share in _NOISES[partition])
        for index in range(int((end - first - layout.WINDOW_S) / _HOP_S) + 1):
            start_s = first + index * _HOP_S
            yield recording_cut(
                f"{path.relative_to(root).as_posix()}#{start_s:07.2f}",
                path,
                duration_s=duration_s,
                partition=partition,
                label=SILENCE,
                window_s=(start_s, layout.WINDOW_S),
            )


def _some(cuts: list[MonoCut], wanted: int) -> list[MonoCut]:
    """So many, the same on every machine."""
    return sorted(cuts, key=lambda cut: hashed_share(str(cut.id)))[:wanted]
