"""Where a run's audio comes from: everything that training asks of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lhotse import CutSet
from torch.utils.data import IterableDataset

from ..config import BatchConfig
from ..distributed import rank, world_size
from .audio import PackedAudio, Waveform
from .batches import Batch, Batches, Share


class Source(Protocol):
    """Audio as an endless stream of batches, and once from end to end."""

    def batches(self, config: BatchConfig, *, seed: int, start_step: int) -> IterableDataset[Batch]:
        """This process's passes of every update from `start_step` on."""

    def waveforms(self) -> Iterator[tuple[str, Waveform]]:
        """Every recording once, in a stable order: its id and (samples,) float32 at 16 kHz."""


@dataclass(frozen=True)
class Recordings:
    """A corpus that is decoded on disk."""

    cuts: CutSet
    """What is read of it."""
    packed: PackedAudio
    """The audio of at least these cuts."""

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
        )

    def waveforms(self) -> Iterator[tuple[str, Waveform]]:
        """In the set's order."""
        for cut_id in self.cuts.ids:
            yield cut_id, self.packed.waveform(cut_id)
