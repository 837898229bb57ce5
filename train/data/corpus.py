"""Find out how a corpus lies on disk and read it as lhotse cuts."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from . import layouts

if TYPE_CHECKING:
    from lhotse import CutSet

LAST = "folder"
"""The layout that takes what no other recognizes."""


def layout_names() -> list[str]:
    """Every layout, in the order in which they are tried."""
    names = (module.name for module in pkgutil.iter_modules(layouts.__path__))
    return sorted(names, key=lambda name: (name == LAST, name))


def read_corpus(root: Path) -> CutSet:
    """Read a corpus by the first layout that recognizes it.

    Returns:
        cuts sorted by id, the path below `root`; each with one supervision (text: the label or
        sentence, empty where unknown) and `partition`: `train`, `valid` or `test`.

    Raises:
        DataError: no such folder, no audio in it, or a manifest that cannot be right.
    """
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise DataError(f"the corpus folder {root} {state}; name a folder that holds recordings")
    for name in layout_names():
        layout = importlib.import_module(f"{layouts.__name__}.{name}")
        if layout.recognizes(root):
            return layout.read(root)
    raise AssertionError(f"the layout {LAST!r} takes every folder")


def usable(cuts: CutSet, *, partition: str, min_seconds: float = 0.0) -> CutSet:
    """The cuts of a partition that last long enough.

    Raises:
        DataError: nothing is left; the message says what was there.
    """
    of_partition = [cut for cut in cuts if cut.partition == partition]
    if not of_partition:
        there = ", ".join(sorted({str(cut.partition) for cut in cuts})) or "nothing"
        raise DataError(
            f"the corpus has no {partition!r} recordings, only {there}; add some, or name the "
            "split in manifest.csv"
        )
    long_enough = [cut for cut in of_partition if cut.duration >= min_seconds]
    if not long_enough:
        longest_s = max(cut.duration for cut in of_partition)
        raise DataError(
            f"none of the {len(of_partition)} {partition!r} recordings lasts {min_seconds} s: the "
            f"longest has {longest_s:.3f} s; lower the recipe's min_seconds or give longer audio"
        )
    return type(cuts).from_cuts(long_enough)
