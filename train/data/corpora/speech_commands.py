"""Google Speech Commands v0.02: 105,829 one-second words with official partitions.

Source: P. Warden, arXiv:1804.03209; the digest is the one torchaudio.datasets.SPEECHCOMMANDS
checks, the size the one ESPnet's recipe does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DataError
from ..fetch import Archive, Checksum
from ..layouts import speech_commands as layout

if TYPE_CHECKING:
    from lhotse import MonoCut

LICENCE = "CC BY 4.0"
PARTS = {
    "v0.02": Archive(
        url="https://storage.googleapis.com/download.tensorflow.org/data/"
        "speech_commands_v0.02.tar.gz",
        hours=29.4,
        size_bytes=2_428_923_189,
        checksum=Checksum(
            "sha256",
            "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            "torchaudio.datasets.SPEECHCOMMANDS",
        ),
    )
}


def cuts(root: Path) -> Iterable[MonoCut]:
    """Read the official layout, by validation_list.txt and testing_list.txt.

    Raises:
        DataError: the lists or the clips are not there.
    """
    if not layout.recognizes(root):
        raise DataError(
            f"{root} lacks validation_list.txt or testing_list.txt; unpack the archive there"
        )
    clips: Iterable[MonoCut] = layout.read(root)
    return clips
