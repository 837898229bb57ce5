"""Where a run's audio comes from: everything that training asks of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from lhotse import CutSet
from torch.utils.data import IterableDataset

from ..config import BatchConfig
from ..distributed import rank, world_size
from ..errors import DataError
from .audio import PackedAudio, Waveform
from .batches import Batch, Batches, FixedBatches, Share
from .corpus import read_corpus, usable
from .label_share import LabelShare, unlabelled
from .shards import holds_shards
from .stream import ShardedRecordings


class BatchSource(Protocol):
    """Audio as an endless stream of batches."""

    def batches(self, config: BatchConfig, *, seed: int, start_step: int) -> IterableDataset[Batch]:
        """This process's passes of every update from `start_step` on."""


class Source(BatchSource, Protocol):
    """Audio as an endless stream of batches, and once from end to end."""

    fits_memory: ClassVar[bool]
    """Whether features of every recording may be kept at once."""

    def waveforms(self) -> Iterator[tuple[str, Waveform]]:
        """Every recording once, in a stable order: its id and (samples,) float32 at 16 kHz."""

    def whole(self, batch_size: int) -> Iterable[Batch]:
        """Every recording once and uncropped, in a stable order, so many at a time."""


@dataclass(frozen=True)
class Recordings:
    """A corpus that is decoded on disk."""

    fits_memory: ClassVar[bool] = True
    cuts: CutSet
    """What is read of it."""
    packed: PackedAudio
    """The audio of at least these cuts."""
    row_seconds: float | None = None
    """What each counts as in a batch, as `Batches` says."""

    def batches(self, config: BatchConfig, *, seed: int, start_step: int) -> Batches:
        """Batches whose rows depend on seed and update alone."""
        return Batches(
            self.cuts,
            self.packed,
            batch_seconds=config.seconds,
            crop_seconds=config.crop_seconds,
            seed=seed,
            start_step=start_step,
            trim=config.trim,
            share=Share(rank(), world_size(), config.passes(world_size())),
            row_seconds=self.row_seconds,
        )

    def waveforms(self) -> Iterator[tuple[str, Waveform]]:
        """In the set's order."""
        for cut_id in self.cuts.ids:
            yield cut_id, self.packed.waveform(cut_id)

    def whole(self, batch_size: int) -> FixedBatches:
        """By length, for little padding."""
        return FixedBatches(self.cuts, self.packed, batch_size)


def open_source(data: Path, *, min_seconds: float, without: LabelShare | None = None) -> Source:
    """A corpus of whatever kind: tar shards are read as a stream, everything else is decoded.

    Args:
        data: a folder of recordings or of shards, or a shards.json.
        min_seconds: shorter recordings are left out.
        without: speakers with labels of this share are left out; None: none are.

    Raises:
        DataError: nothing of use there, or shards that speakers are to be left out of.
    """
    if holds_shards(data):
        if without is not None:
            raise DataError(
                f"{data} holds shards, which without_labelled cannot sort by speaker; name the "
                "corpus that they were made of"
            )
        return ShardedRecordings.of(data, min_seconds)
    corpus = read_corpus(data)
    cuts = usable(corpus, partition="train", min_seconds=min_seconds)
    if without is not None:
        cuts = unlabelled(cuts, without)
    # Whole, so that every step of the way from teacher to keywords shares one cache.
    return Recordings(cuts, PackedAudio.of(corpus, progress=True))
