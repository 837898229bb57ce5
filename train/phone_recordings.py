"""Recordings that phone models are trained on: those whose phones are known, and the others."""

from dataclasses import dataclass
from pathlib import Path

from lhotse import CutSet

from .data.audio import PackedAudio
from .data.corpus import read_corpus, usable
from .data.label_share import of_labelled_speakers
from .data.mixed import MixedRecordings
from .data.said import phones_said
from .data.source import BatchSource, Recordings
from .errors import DataError
from .phones_recipe import PhonesRecipe


@dataclass(frozen=True)
class PhoneRecordings:
    """What a recipe learns from and is scored on."""

    cuts: CutSet
    """All that are heard, of every partition."""
    said: dict[str, tuple[str, ...]]
    """Phones by id; of labelled speakers or not."""
    labelled: CutSet
    """Of the train partition, those that are learned from by their phones; maybe none."""
    unlabelled: CutSet
    """Of the train partition, those that are learned from by a teacher's phones; maybe none."""

    @property
    def learned(self) -> dict[str, tuple[str, ...]]:
        """The phones that training may know."""
        return {cut_id: self.said[cut_id] for cut_id in self.labelled.ids}

    def source(self, packed: PackedAudio, share: float | None) -> BatchSource:
        """What training draws from.

        Args:
            packed: the audio of `cuts`.
            share: of an update's audio that is unlabelled, in (0, 1]; None: as it comes.
        """
        if share is None or share == 1.0:
            return Recordings(CutSet.from_cuts([*self.labelled, *self.unlabelled]), packed)
        return MixedRecordings(
            Recordings(self.labelled, packed), Recordings(self.unlabelled, packed), share
        )


def read_phone_recordings(recipe: PhonesRecipe, data: Path) -> PhoneRecordings:
    """Find what a recipe learns from; no audio is decoded.

    Args:
        recipe: says how many speakers are labelled, and whether others are learned from.
        data: a corpus with partitions.

    Raises:
        DataError: it cannot be read, or has no recordings of a kind that the recipe learns from.
    """
    config, most_s = recipe.unlabelled, recipe.batch.crop_seconds
    cuts = read_corpus(data)
    said = phones_said(cuts)
    cuts = cuts.filter(
        lambda cut: cut.id in said or (config is not None and cut.custom["partition"] == "train")
    ).to_eager()
    train = usable(cuts, partition="train", min_seconds=recipe.batch.min_seconds)
    train = train.filter(lambda cut: cut.duration <= most_s).to_eager()
    labelled = train.filter(lambda cut: cut.id in said).to_eager()
    labelled = of_labelled_speakers(labelled, recipe.labelled)
    known = set(labelled.ids)
    unlabelled = train.filter(lambda cut: config is not None and cut.id not in known).to_eager()
    if config is not None and config.share == 1.0:
        labelled = CutSet.from_cuts([])
    elif not any(said[cut_id] for cut_id in known):
        raise DataError(
            f"no train recording of {data} of at most {most_s:g} s says anything; give recordings "
            "with text or phones, or raise batch.crop_seconds"
        )
    if config is not None and not len(unlabelled):
        raise DataError(
            f"the phones of all {len(known)} train recordings of {data} are known, and "
            "[unlabelled] learns from others; lower labelled.share, or leave [unlabelled] out"
        )
    return PhoneRecordings(cuts, said, labelled, unlabelled)
