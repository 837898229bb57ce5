"""Updates made of two kinds of recordings, each with its share of the audio."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch.nn import functional
from torch.utils.data import IterableDataset

from ..config import BatchConfig
from ..distributed import rank, world_size
from .batches import Batch, Batches, Share
from .source import Recordings


@dataclass(frozen=True)
class MixedRecordings:
    """Labelled and unlabelled recordings, side by side in every update.

    Each kind is drawn by itself, an epoch of the one being no epoch of the other.
    """

    labelled: Recordings
    unlabelled: Recordings
    share: float
    """Of an update's audio that is unlabelled, in (0, 1)."""

    def batches(self, config: BatchConfig, *, seed: int, start_step: int) -> IterableDataset[Batch]:
        """Batches whose rows depend on seed and update alone."""
        return _Joined(
            *(
                Batches(
                    kind.cuts,
                    kind.packed,
                    batch_seconds=share * config.seconds,
                    crop_seconds=config.crop_seconds,
                    seed=seed,
                    start_step=start_step,
                    trim=config.trim,
                    share=Share(rank(), world_size(), config.passes(world_size())),
                )
                for kind, share in (
                    (self.labelled, 1.0 - self.share),
                    (self.unlabelled, self.share),
                )
            )
        )


class _Joined(IterableDataset[Batch]):
    """Passes of two streams, pass by pass as one."""

    def __init__(self, first: Batches, second: Batches) -> None:
        super().__init__()
        self._streams = first, second

    def __iter__(self) -> Iterator[Batch]:
        for first, second in zip(*self._streams, strict=True):
            yield _joined(first, second)


def _joined(first: Batch, second: Batch) -> Batch:
    """The rows of both; their numbers are even and odd, for no two may draw the same."""
    longest = max(first.waveform.shape[1], second.waveform.shape[1])
    waveforms = [
        functional.pad(batch.waveform, (0, longest - batch.waveform.shape[1]))
        for batch in (first, second)
    ]
    return replace(
        first,
        cut_ids=first.cut_ids + second.cut_ids,
        waveform=torch.cat(waveforms),
        lengths=torch.cat([first.lengths, second.lengths]),
        num_samples=first.num_samples + second.num_samples,
        starts=first.starts + second.starts,
        labels=first.labels + second.labels,
        rows=[2 * row for row in first.rows] + [2 * row + 1 for row in second.rows],
    )
