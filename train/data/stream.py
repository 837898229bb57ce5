"""Batches from tar shards, read as they come: the corpus need not fit memory or disk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from lhotse.dataset import DynamicBucketingSampler
from lhotse.dataset.sampling.dynamic_bucketing import FixedBucketBatchSizeConstraint
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from ..errors import DataError
from .audio import Waveform
from .batches import Batch, Share
from .cuts import SAMPLE_RATE
from .shards import (
    Entry,
    Shard,
    decoded,
    entries,
    find_shards,
    lacking,
    num_samples,
    recordings,
    waveforms,
)

if TYPE_CHECKING:
    from lhotse import Recording

    from ..config import BatchConfig

_NUM_BUCKETS = 8
_BUCKET_RATIO = 1.25
"""Longest to shortest of a bucket; a row is padded by a fifth at most."""
_BUFFER_CUTS = 1000
"""Least descriptions that the sampler chooses from."""
_NUM_THREADS = 4

_ALONE = Share()

_SHARDS, _SAMPLER, _CROPS = 0, 1, 2
"""What a generator seeded by (seed, number, …) draws; no two streams are the same."""


class _OpenShard:
    """A shard whose descriptions are dealt out; its tar is read when the first audio is asked."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._wanted: set[str] = set()
        self._held: dict[str, Recording] | None = None

    def expect(self, cut_ids: Sequence[str]) -> None:
        """These will be taken or dropped."""
        self._wanted.update(cut_ids)

    def take(self, cut_id: str) -> Recording:
        """The encoded recording, which is let go."""
        if self._held is None:
            self._held = {
                held_id: recording
                for held_id, recording in recordings(self.shard)
                if held_id in self._wanted
            }
        recording = self._held.pop(cut_id, None)
        if recording is None:
            raise lacking(self.shard, cut_id)
        return recording

    def drop(self, cut_id: str) -> None:
        """It was replayed: its audio is not needed."""
        self._wanted.discard(cut_id)


class _Row:
    """What lhotse's sampler sees of a recording: `duration`, in samples and after the crop."""

    def __init__(self, entry: Entry, source: _OpenShard, crop_samples: int) -> None:
        self.entry = entry
        self.source = source
        self.duration = min(entry.num_samples, crop_samples)
        self.dataloading_info: dict[str, Any] = {}  # the sampler writes it


class StreamedBatches(IterableDataset[Batch]):
    """An endless stream of batches out of shards, a function of seed, share and step alone.

    In every epoch the shards are shuffled anew and dealt to the processes: each recording is seen
    once an epoch, by one process. lhotse's DynamicBucketingSampler collects recordings of like
    length out of a buffer; the buckets and their batch sizes are fixed, so that how many batches
    a shard gives does not depend on the shuffle.

    A stream may start anywhere. Whole epochs are skipped by counting, for which each description
    file is read once; within its epoch the sampler is replayed over descriptions alone. No audio
    is read or decoded for what is skipped, and shards that were used up are not opened.

    Memory: descriptions of `buffer_cuts` recordings, and the encoded audio of those of them whose
    shard was opened; about 200 MB for 1000 recordings of 12 s. Recordings of many minutes are
    better segmented before they are written: here an epoch takes one crop of each.

    An update's rows are numbered over processes and passes: part p of them starts at p times the
    largest batch, so numbers differ where sizes do. Unlike `Batches`, a row's content depends on
    the number of processes: shards are dealt, not rows.
    """

    def __init__(
        self,
        shards: Path | str | Sequence[Shard],
        *,
        batch_seconds: float,
        crop_seconds: float,
        seed: int,
        min_seconds: float = 0.0,
        start_step: int = 0,
        trim: bool = False,
        share: Share = _ALONE,
        buffer_cuts: int = _BUFFER_CUTS,
    ) -> None:
        """Plan the buckets; of the shards, only their list is read.

        Args:
            shards: as `find_shards` takes them.
            batch_seconds: most audio of an update over all parts of `share`, padding included; a
                part holds one recording at least.
            crop_seconds: longer recordings are cut to this, at a start drawn anew every time.
            seed: 0 or more; of order, batches and crops.
            min_seconds: shorter recordings are left out.
            start_step: number of the first update; may be set until iteration starts.
            trim: cut every row to the shortest of its pass rather than pad it.
            share: this process's place, and the passes of an update.
            buffer_cuts: recordings to choose from; raised to what fills one batch a bucket.

        Raises:
            DataError: no shards, a missing one, or fewer shards than processes.
            ValueError: seconds that are not positive, or a negative seed or step.
        """
        super().__init__()
        if min(batch_seconds, crop_seconds) <= 0 or min_seconds < 0:
            raise ValueError(
                "batch_seconds and crop_seconds must be positive and min_seconds not negative, got "
                f"{batch_seconds}, {crop_seconds}, {min_seconds}"
            )
        if min(seed, start_step) < 0:
            raise ValueError(f"seed and start_step must be 0 or more, got {seed}, {start_step}")
        self.shards = find_shards(shards)
        if len(self.shards) < share.world_size:
            raise DataError(
                f"{share.world_size} processes cannot share {len(self.shards)} shards: each needs "
                "one; write shorter shards (--shard-seconds) or use fewer processes"
            )
        self.seed = seed
        self.start_step = start_step
        self.trim = trim
        self.share = share
        self.crop_samples = max(1, round(crop_seconds * SAMPLE_RATE))
        self._min_samples = round(min_seconds * SAMPLE_RATE)
        steps = np.arange(_NUM_BUCKETS - 1, -1, -1)
        uppers = np.ceil(self.crop_samples / _BUCKET_RATIO**steps).astype(int)
        self._uppers = [int(upper) for upper in np.unique(uppers)]
        part_samples = round(batch_seconds * SAMPLE_RATE) // share.parts
        self._sizes = [max(1, part_samples // upper) for upper in self._uppers]
        # With this many, some bucket always holds a full batch: only an epoch's end has others,
        # and the number of batches follows from the shards' lengths.
        self._buffer_cuts = max(buffer_cuts, sum(self._sizes))
        self._counted: dict[int, NDArray[np.int64]] = {}

    def __iter__(self) -> Iterator[Batch]:
        """This process's passes of each update from `start_step` on, without end.

        Raises:
            DataError: a shard is missing or damaged, none holds a recording that is long enough,
                or a DataLoader starts several workers, each of which would read everything.
        """
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise DataError(
                f"a stream of shards is read by one worker, not {worker.num_workers}; set "
                "num_workers to 0 or 1"
            )
        number = self.start_step * self.share.passes
        first_epoch, skipped = self._locate(number)
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            for epoch in count(first_epoch):
                for rows in self._epoch(epoch):
                    if skipped:
                        skipped -= 1
                        for row in rows:
                            row.source.drop(row.entry.cut_id)
                        continue
                    yield self._batch(rows, number, pool)
                    number += 1

    def _locate(self, number: int) -> tuple[int, int]:
        """The epoch of a batch, and how many batches of that epoch come before it."""
        for epoch in count():
            if number == 0:
                return epoch, 0
            num_batches = self._num_batches(epoch)
            if number < num_batches:
                return epoch, number
            number -= num_batches
        raise AssertionError("count() ends never")

    def _dealt(self, epoch: int) -> list[int]:
        """Our shards of an epoch, in the order in which they are read."""
        order = np.random.default_rng([self.seed, _SHARDS, epoch]).permutation(len(self.shards))
        return [int(index) for index in order[self.share.rank :: self.share.world_size]]

    def _num_batches(self, epoch: int) -> int:
        held = sum(self._histogram(index) for index in self._dealt(epoch))
        num_batches = int(np.sum(-(-held // np.array(self._sizes))))
        if num_batches == 0:
            self._check_any()
        return num_batches

    def _check_any(self) -> None:
        """An epoch of ours may be empty, all of them may not."""
        if not any(self._histogram(index).any() for index in range(len(self.shards))):
            raise DataError(
                f"no recording of {len(self.shards)} shards lasts "
                f"{self._min_samples / SAMPLE_RATE:g} s; lower min_seconds or give longer audio"
            )

    def _histogram(self, index: int) -> NDArray[np.int64]:
        """Usable recordings of a shard in each bucket."""
        if index not in self._counted:
            self._usable(index)
        return self._counted[index]

    def _usable(self, index: int) -> list[Entry]:
        """Descriptions of the recordings that are long enough; counts them on the way."""
        found = [
            entry for entry in entries(self.shards[index]) if entry.num_samples >= self._min_samples
        ]
        counted = np.zeros(len(self._uppers), dtype=np.int64)
        for entry in found:
            counted[bisect_left(self._uppers, min(entry.num_samples, self.crop_samples))] += 1
        self._counted[index] = counted
        return found

    def _epoch(self, epoch: int) -> Iterator[list[_Row]]:
        """The batches of an epoch as rows without audio."""
        draw = np.random.default_rng([self.seed, _SAMPLER, epoch, self.share.rank])
        sampler = DynamicBucketingSampler(
            self._rows(epoch),
            constraint=FixedBucketBatchSizeConstraint(self._uppers, self._sizes),
            duration_bins=self._uppers[:-1],
            buffer_size=self._buffer_cuts,
            shuffle=True,
            seed=int(draw.integers(2**31)),
            # The shards are dealt already; the sampler would deal batches once more.
            world_size=1,
            rank=0,
            # Without it, lhotse 1.33 ends an epoch early: it takes empty buckets for full ones.
            sync_buckets=True,
        )
        num_batches = 0
        for rows in sampler:
            num_batches += 1
            yield list(rows)
        assert num_batches == self._num_batches(epoch), "a stream could not be resumed"

    def _rows(self, epoch: int) -> Iterator[_Row]:
        for index in self._dealt(epoch):
            source = _OpenShard(self.shards[index])
            usable = self._usable(index)
            source.expect([entry.cut_id for entry in usable])
            for entry in usable:
                yield _Row(entry, source, self.crop_samples)

    def _batch(self, rows: Sequence[_Row], number: int, pool: ThreadPoolExecutor) -> Batch:
        step, turn = divmod(number, self.share.passes)
        part = turn * self.share.world_size + self.share.rank
        numbers = [part * max(self._sizes) + place for place in range(len(rows))]
        held = [row.source.take(row.entry.cut_id) for row in rows]
        whole = np.array([num_samples(recording) for recording in held])
        kept = np.minimum(whole, self.crop_samples)
        if self.trim:
            kept = np.minimum(kept, kept.min())
        places = [np.random.default_rng([self.seed, _CROPS, step, row]).random() for row in numbers]
        starts = [int(start) for start in np.array(places) * (whole - kept + 1)]
        heard: list[Waveform] = list(
            pool.map(
                lambda recording, row, start, length: decoded(
                    recording, row.source.shard, start, length
                ),
                held,
                rows,
                starts,
                (int(length) for length in kept),
            )
        )
        lengths = [len(waveform) for waveform in heard]
        return Batch(
            cut_ids=[row.entry.cut_id for row in rows],
            waveform=torch.from_numpy(_padded(heard)),
            lengths=torch.tensor(lengths, dtype=torch.int64),
            num_samples=lengths,
            starts=starts,
            labels=[row.entry.label for row in rows],
            rows=numbers,
            step=step,
        )


@dataclass(frozen=True)
class ShardedRecordings:
    """A corpus in shards as a run's source of audio."""

    fits_memory: ClassVar[bool] = False
    shards: tuple[Shard, ...]
    min_seconds: float = 0.0
    """Shorter recordings are left out."""

    @classmethod
    def of(cls, source: Path | str, min_seconds: float = 0.0) -> ShardedRecordings:
        """The shards of a folder, or of a shards.json or its URL.

        Raises:
            DataError: there are none.
        """
        return cls(tuple(find_shards(source)), min_seconds)

    def batches(self, config: BatchConfig, *, seed: int, start_step: int) -> StreamedBatches:
        """This process's passes of every update from `start_step` on."""
        from ..distributed import rank, world_size

        return StreamedBatches(
            self.shards,
            batch_seconds=config.seconds,
            crop_seconds=config.crop_seconds,
            min_seconds=self.min_seconds,
            seed=seed,
            start_step=start_step,
            trim=config.trim,
            share=Share(rank(), world_size(), config.passes(world_size())),
        )

    def waveforms(self) -> Iterator[tuple[str, Waveform]]:
        """Every recording once, in the shards' order."""
        return waveforms(self.shards, self.min_seconds)

    def whole(self, batch_size: int) -> Iterator[Batch]:
        """In the shards' order."""
        read = self.waveforms()
        for step in count():
            held = list(islice(read, batch_size))
            if not held:
                return
            lengths = [len(waveform) for _, waveform in held]
            yield Batch(
                cut_ids=[cut_id for cut_id, _ in held],
                waveform=torch.from_numpy(_padded([waveform for _, waveform in held])),
                lengths=torch.tensor(lengths, dtype=torch.int64),
                num_samples=lengths,
                starts=[0] * len(held),
                labels=[""] * len(held),
                rows=list(range(len(held))),
                step=step,
            )


def _padded(waveforms: Sequence[Waveform]) -> Waveform:
    """Side by side, zeros at the end: (batch, samples)."""
    padded = np.zeros((len(waveforms), max(map(len, waveforms))), dtype=np.float32)
    for place, samples in zip(padded, waveforms, strict=True):
        place[: len(samples)] = samples
    return padded
