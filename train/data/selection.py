"""Choose the cuts of a corpus that a run can use."""

from collections import Counter
from collections.abc import Iterable

from lhotse import CutSet

from ..errors import DataError
from ..nearest import nearest


def partition_of(cuts: CutSet, partition: str) -> CutSet:
    """Cuts of a partition, maybe none."""
    return cuts.filter(lambda cut: cut.custom["partition"] == partition).to_eager()


def labels_of(cuts: CutSet, *, min_clips: int) -> tuple[str, ...]:
    """Every label with at least `min_clips` clips, sorted.

    Raises:
        DataError: fewer than two labels have as many.
    """
    clips = Counter(cut.supervisions[0].text for cut in cuts if cut.supervisions)
    labels = tuple(sorted(label for label, count in clips.items() if label and count >= min_clips))
    if len(labels) < 2:
        raise DataError(
            f"keywords are learned from two labels or more with {min_clips} clips each, and the "
            f"train partition has {len(labels)}; give labelled clips or lower min_clips_per_label"
        )
    return labels


def check_labels(labels: Iterable[str], cuts: CutSet) -> None:
    """Refuse a label that no clip has.

    Raises:
        DataError: the message names it and the nearest one there is.
    """
    there = {cut.supervisions[0].text for cut in cuts if cut.supervisions}
    for label in labels:
        if label not in there:
            raise DataError(
                f"no clip of the train partition is labelled {label!r}: "
                f"{nearest(label, sorted(filter(None, there)))}"
            )
