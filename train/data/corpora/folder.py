"""A folder of one's own, in any layout that training reads; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..corpus import read_corpus
from ..fetch import Archive

if TYPE_CHECKING:
    from lhotse import MonoCut

LICENCE = "its owner's"
PARTS: dict[str, Archive] = {}


def cuts(root: Path) -> Iterable[MonoCut]:
    """Read the folder by the first layout that recognizes it.

    Raises:
        DataError: no such folder, or no audio in it.
    """
    recordings: Iterable[MonoCut] = read_corpus(root)
    return recordings
