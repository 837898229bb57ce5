"""A share of the labelled clips: as if the others had been recorded and nobody had listened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from ..errors import DataError
from .cuts import hashed_share, label_of

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LabelShare:
    """Which of the train partition's clips have a label."""

    share: float = 1.0
    """Of each label's clips, or of the speakers of sentences, in (0, 1]; a larger share of the same
    seed holds a smaller one."""
    seed: int = 0
    """Of the order of speakers, 0 or more; it is not the run's, whose seeds share the clips."""

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share must lie in (0, 1], got {self.share}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")


def labelled(cuts: CutSet, chosen: LabelShare) -> CutSet:
    """The clips that have a label: of each label the same share, speaker after speaker.

    Speakers come in an order that belongs to the seed, the same for every label, so that few
    speakers have labelled clips; a clip of nobody is a speaker of its own. At least one clip of
    each label is chosen.

    Args:
        cuts: of one partition.
        chosen: how many, and in which order.
    """
    by_label: dict[str, list[MonoCut]] = {}
    for cut in cuts:
        by_label.setdefault(label_of(cut), []).append(cut)
    ids: set[str] = set()
    for clips in by_label.values():
        clips.sort(key=lambda cut: (_turn(speaker_of(cut), chosen), str(cut.id)))
        ids.update(str(cut.id) for cut in clips[: max(1, round(chosen.share * len(clips)))])
    return cuts.filter(lambda cut: str(cut.id) in ids).to_eager()


def of_labelled_speakers(cuts: CutSet, chosen: LabelShare) -> CutSet:
    """All cuts of a share of the speakers, for sentences: hardly any is a label that others have.

    Speakers come in the order that they have in `labelled`. At least one is chosen.

    Args:
        cuts: of one partition.
        chosen: how many speakers, and in which order.
    """
    speakers = sorted(
        {speaker_of(cut) for cut in cuts}, key=lambda speaker: (_turn(speaker, chosen), speaker)
    )
    first = set(speakers[: max(1, round(chosen.share * len(speakers)))])
    return cuts.filter(lambda cut: speaker_of(cut) in first).to_eager()


def unlabelled(cuts: CutSet, chosen: LabelShare) -> CutSet:
    """The clips of all speakers of whom `labelled` has none, for pretraining; arguments as there.

    Clips that are left over of speakers with labels are in neither set.

    Raises:
        DataError: nothing is left.
    """
    speakers = {speaker_of(cut) for cut in labelled(cuts, chosen)}
    rest = cuts.filter(lambda cut: speaker_of(cut) not in speakers).to_eager()
    if not len(rest):
        raise DataError(
            f"labels for a share of {chosen.share:g} take clips of all {len(speakers)} speakers, "
            "and nothing is left to pretrain on; lower without_labelled.share"
        )
    return rest


def _turn(speaker: str, chosen: LabelShare) -> float:
    return hashed_share(f"{chosen.seed}/{speaker}")


def speaker_of(cut: MonoCut) -> str:
    """Whose clip it is; where nobody is named, the clip's own id."""
    return str(cut.supervisions[0].speaker or cut.id)
