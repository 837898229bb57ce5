"""Batches by duration: an endless stream in which batch k depends on the seed and k alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import overload

import numpy as np
import torch
from lhotse import CutSet
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from ..errors import DataError
from .audio import PackedAudio
from .cuts import SAMPLE_RATE, label_of

_MAX_BUCKETS = 10
_BATCHES_PER_BUCKET = 4
"""Fewer, and the small last batches of buckets would weigh too much."""

_ORDER, _CROPS, _TIES = 0, 1, 2
"""What a generator seeded by (seed, number, …) draws; no two streams are the same."""


@dataclass
class Batch:
    """Recordings side by side, zero-padded at the end. Not frozen: Lightning moves it in place."""

    cut_ids: list[str]
    """One for each row."""
    waveform: Tensor
    """float32 (batch, samples), zeros past a row's length."""
    lengths: Tensor
    """int64 (batch,), samples that are not padding."""
    num_samples: list[int]
    """The same as `lengths`, where no device has to be asked."""
    starts: list[int]
    """First sample of each row's crop, counted in its cut."""
    labels: list[str]
    """Word or sentence of each row, empty where unknown."""
    rows: list[int]
    """Numbers of the rows within their update, whatever device and pass they were dealt to."""
    step: int
    """Number of the update in its stream, from 0."""

    @property
    def padded_lengths(self) -> Tensor | None:
        """`lengths` where a row is padded, None where none is: attention then needs no mask."""
        padded = min(self.num_samples) < self.waveform.shape[-1]
        return self.lengths if padded else None


@dataclass(frozen=True)
class Share:
    """Which part of every update's rows a process reads, and in how many passes."""

    rank: int = 0
    """This process's number, from 0."""
    world_size: int = 1
    """Processes that train together."""
    passes: int = 1
    """Forward and backward passes that each makes before an optimizer step."""

    @property
    def parts(self) -> int:
        """Parts that an update's rows are dealt into."""
        return self.world_size * self.passes


class Batches(IterableDataset[Batch]):
    """An endless, shuffled stream of batches that may start anywhere at no cost.

    Recordings are sorted into buckets of like length, and each bucket into batches of at most
    `batch_seconds`, padding included. Which recordings meet is drawn anew in every epoch, and so
    is the order of the batches; how many there are is not. So the epoch of batch k is
    k // num_batches, and a stream that starts at k equals one that came there. lhotse's bucketing
    samplers, whose number of batches changes with the shuffle, would replay all epochs before k.
    Every recording is seen once an epoch, small last batches included.

    A batch is an update's audio. `share` deals its rows to processes and passes; what a row is
    (its crop, its number) does not depend on that, so the run does not depend on the devices.
    """

    def __init__(
        self,
        cuts: CutSet,
        packed: PackedAudio,
        *,
        batch_seconds: float,
        crop_seconds: float,
        seed: int,
        start_step: int = 0,
        trim: bool = False,
        share: Share = Share(),
        row_seconds: float | None = None,
    ) -> None:
        """Plan the buckets; no audio is read.

        Args:
            cuts: what to train on, all of them packed.
            packed: their audio.
            batch_seconds: most audio of a batch, padding included; a recording that alone is
                longer, after the crop, makes a batch of its own.
            crop_seconds: longer recordings are cut to this, at a start drawn anew every time.
            seed: 0 or more; of order and crops.
            start_step: number of the first batch; may be set until iteration starts.
            trim: cut every row to the shortest of its pass rather than pad it.
            share: which rows are ours, and in how many passes they come.
            row_seconds: what every row counts as, where training makes rows of its own length
                of recordings; None: as long as it is.

        Raises:
            DataError: no cuts, or a batch of fewer recordings than it is dealt into parts.
            ValueError: seconds that are not positive, or a negative seed or step.
        """
        super().__init__()
        if min(batch_seconds, crop_seconds) <= 0:
            raise ValueError(
                "batch_seconds and crop_seconds must be positive, got "
                f"{batch_seconds} and {crop_seconds}"
            )
        if min(seed, start_step) < 0:
            raise ValueError(f"seed and start_step must be 0 or more, got {seed}, {start_step}")
        self.packed = packed
        self.seed = seed
        self.start_step = start_step
        self.crop_samples = max(1, round(crop_seconds * SAMPLE_RATE))
        self._cut_ids, self._labels, samples = _table(cuts, packed)
        counted = np.minimum(samples, self.crop_samples)
        if row_seconds is not None:
            counted = np.full_like(samples, round(row_seconds * SAMPLE_RATE))
        self._samples = samples
        self._buckets = _plan(counted, round(batch_seconds * SAMPLE_RATE), seed)
        self.trim = trim
        self.share = share
        self._check_share()
        self._epoch_order = lru_cache(maxsize=2)(self._shuffled)

    @property
    def num_batches(self) -> int:
        """Batches of an epoch."""
        return sum(num_batches for _, num_batches in self._buckets)

    def __iter__(self) -> Iterator[Batch]:
        """Our part of each batch from `start_step` on, pass by pass, without end."""
        step = self.start_step
        while True:
            for number in range(self.share.passes):
                yield self.batch(step, number)
            step += 1

    def batch(self, step: int, number: int = 0) -> Batch:
        """The pass with this number of the batch with this one, whatever was read before."""
        epoch, position = divmod(step, self.num_batches)
        chosen = self._epoch_order(epoch)[position]
        # Drawn for all rows of the update, so that a row's crop does not depend on the shares.
        places = np.random.default_rng([self.seed, _CROPS, step]).random(len(chosen))
        part = number * self.share.world_size + self.share.rank
        rows = np.array_split(np.arange(len(chosen)), self.share.parts)[part]
        samples = np.minimum(self._samples[chosen[rows]], self.crop_samples)
        if self.trim:
            samples = np.minimum(samples, samples.min())
        spare = self._samples[chosen[rows]] - samples
        return _collate(
            [self._cut_ids[index] for index in chosen[rows]],
            [self._labels[index] for index in chosen[rows]],
            [int(start) for start in places[rows] * (spare + 1)],
            self.packed,
            rows=[int(row) for row in rows],
            step=step,
            num_samples=[int(length) for length in samples],
        )

    def _check_share(self) -> None:
        """Every part of every batch must hold a recording: a process cannot sit out."""
        smallest = min(len(members) // num_batches for members, num_batches in self._buckets)
        if smallest < self.share.parts:
            raise DataError(
                f"an update holds as few as {smallest} recordings, and {self.share.world_size} "
                f"processes in {self.share.passes} passes need {self.share.parts}; raise "
                "batch.seconds, or batch.device_seconds, or use fewer processes"
            )

    def _shuffled(self, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of an epoch, as indices of cuts."""
        rng = np.random.default_rng([self.seed, _ORDER, epoch])
        batches: list[NDArray[np.int64]] = []
        for members, num_batches in self._buckets:
            batches.extend(np.array_split(rng.permutation(members), num_batches))
        return [batches[index] for index in rng.permutation(len(batches))]


class FixedBatches(Sequence[Batch]):
    """For validation and labelling: every recording once, whole, in a stable order.

    They are sorted by length, then by their place in the set, for little padding; uncropped.
    """

    def __init__(self, cuts: CutSet, packed: PackedAudio, batch_size: int) -> None:
        """Sort the cuts; no audio is read.

        Raises:
            DataError: no cuts.
            ValueError: a batch size below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.packed = packed
        self.batch_size = batch_size
        self._cut_ids, self._labels, samples = _table(cuts, packed)
        self._order = np.argsort(samples, kind="stable")

    def __len__(self) -> int:
        """Number of batches, the small last one included."""
        return -(-len(self._order) // self.batch_size)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        """Read a batch, or a list of them."""
        if isinstance(index, slice):
            return [self[step] for step in range(*index.indices(len(self)))]
        step = range(len(self))[index]
        chosen = self._order[step * self.batch_size : (step + 1) * self.batch_size]
        return _collate(
            [self._cut_ids[index] for index in chosen],
            [self._labels[index] for index in chosen],
            [0] * len(chosen),
            self.packed,
            rows=list(range(len(chosen))),
            step=step,
            num_samples=None,
        )


def _table(cuts: CutSet, packed: PackedAudio) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Ids, labels and lengths in samples, in the set's order."""
    cut_ids = [str(cut.id) for cut in cuts]
    if not cut_ids:
        raise DataError("there are no recordings to make batches of; check partition and filters")
    samples = np.array([packed.num_samples(cut_id) for cut_id in cut_ids], dtype=np.int64)
    return cut_ids, [label_of(cut) for cut in cuts], samples


def _plan(
    samples: NDArray[np.int64], batch_samples: int, seed: int
) -> list[tuple[NDArray[np.int64], int]]:
    """Buckets by length: members as indices, and into how many batches they are dealt.

    Recordings of one length fall anywhere among themselves: a corpus lies in the order of its
    labels, and buckets of the second words of Speech Commands would each hold a few of them.
    `np.array_split` deals a bucket into batches that differ by one recording at most, so there is
    no last batch with a single one in it.
    """
    ties = np.random.default_rng([seed, _TIES]).permutation(len(samples))
    order = np.lexsort((ties, samples))
    total_batches = max(1, int(samples.sum()) // batch_samples)
    num_buckets = min(_MAX_BUCKETS, max(1, total_batches // _BATCHES_PER_BUCKET))
    if samples[order[0]] == samples[order[-1]]:
        num_buckets = 1
    buckets = []
    for members in np.array_split(order, num_buckets):
        if len(members):
            batch_size = max(1, batch_samples // max(1, int(samples[members[-1]])))
            buckets.append((members, -(-len(members) // batch_size)))
    return buckets


def _collate(
    cut_ids: list[str],
    labels: list[str],
    starts: list[int],
    packed: PackedAudio,
    *,
    rows: list[int],
    step: int,
    num_samples: list[int] | None,
) -> Batch:
    waveforms = [
        packed.waveform(cut_id, start, None if num_samples is None else num_samples[index])
        for index, (cut_id, start) in enumerate(zip(cut_ids, starts, strict=True))
    ]
    lengths = [len(waveform) for waveform in waveforms]
    padded = np.zeros((len(waveforms), max(lengths)), dtype=np.float32)
    for row, samples in zip(padded, waveforms, strict=True):
        row[: len(samples)] = samples
    return Batch(
        cut_ids=cut_ids,
        waveform=torch.from_numpy(padded),
        lengths=torch.tensor(lengths, dtype=torch.int64),
        num_samples=lengths,
        starts=starts,
        labels=labels,
        rows=rows,
        step=step,
    )
