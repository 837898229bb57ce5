"""Laws of the batch stream: a function of seed and step, every recording once an epoch."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.audio import PackedAudio
from train.data.batches import Batches, FixedBatches
from train.data.cuts import recording_cut, sorted_cuts
from train.errors import DataError


def make_set(lengths):
    """Cuts and packed audio of these lengths in samples; sample k of the store is k mod 30000."""
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    samples = (np.arange(offsets[-1]) % 30_000 + 1).astype(np.int16)
    cuts = sorted_cuts(
        recording_cut(
            f"{index:03d}",
            f"/nowhere/{index}.wav",
            duration_s=length / 16_000,
            partition="train",
            label=f"word{index % 3}",
        )
        for index, length in enumerate(lengths)
    )
    spans = {
        f"{index:03d}": (int(offsets[index]), int(offsets[index + 1]))
        for index in range(len(lengths))
    }
    return cuts, PackedAudio(samples, spans)


sets = st.lists(st.integers(1, 3000), min_size=1, max_size=40)
seeds = st.integers(0, 99)


def stream(lengths, seed, start_step=0, batch_seconds=0.4, crop_seconds=0.1):
    cuts, packed = make_set(lengths)
    return Batches(
        cuts,
        packed,
        batch_seconds=batch_seconds,
        crop_seconds=crop_seconds,
        seed=seed,
        start_step=start_step,
    )


def assert_same(first, second):
    assert first.cut_ids == second.cut_ids
    assert first.starts == second.starts
    assert first.labels == second.labels
    assert first.num_samples == second.num_samples
    assert first.step == second.step
    assert torch.equal(first.waveform, second.waveform)
    assert torch.equal(first.lengths, second.lengths)


@settings(deadline=None)
@given(lengths=sets, seed=seeds, step=st.integers(0, 60))
def test_a_stream_that_starts_at_a_step_equals_one_that_came_there(lengths, seed, step):
    walked = next(itertools.islice(stream(lengths, seed), step, None))
    assert_same(next(iter(stream(lengths, seed, start_step=step))), walked)


@settings(deadline=None)
@given(lengths=sets, seed=seeds, epoch=st.integers(0, 3))
def test_every_recording_is_seen_once_an_epoch(lengths, seed, epoch):
    batches = stream(lengths, seed)
    seen = [
        cut_id
        for step in range(epoch * batches.num_batches, (epoch + 1) * batches.num_batches)
        for cut_id in batches.batch(step).cut_ids
    ]
    assert sorted(seen) == [f"{index:03d}" for index in range(len(lengths))]


@settings(deadline=None)
@given(lengths=sets, seed=seeds)
def test_no_batch_holds_more_audio_than_allowed_padding_included(lengths, seed):
    batches = stream(lengths, seed, batch_seconds=0.25, crop_seconds=0.1)
    for step in range(batches.num_batches):
        batch = batches.batch(step)
        assert batch.waveform.numel() <= 4000 or len(batch.cut_ids) == 1
        assert batch.waveform.shape[1] <= 1600


@settings(deadline=None)
@given(lengths=sets, seed=seeds, step=st.integers(0, 20))
def test_a_row_is_its_recording_from_its_start_and_zeros_after(lengths, seed, step):
    cuts, packed = make_set(lengths)
    batches = Batches(cuts, packed, batch_seconds=0.4, crop_seconds=0.1, seed=seed)
    batch = batches.batch(step)
    assert batch.waveform.dtype == torch.float32
    assert batch.lengths.tolist() == batch.num_samples
    for row, cut_id in enumerate(batch.cut_ids):
        length, start = batch.num_samples[row], batch.starts[row]
        assert length == min(packed.num_samples(cut_id), 1600)
        assert 0 <= start <= packed.num_samples(cut_id) - length
        expected = packed.waveform(cut_id)[start : start + length]
        np.testing.assert_array_equal(batch.waveform[row, :length].numpy(), expected)
        assert not batch.waveform[row, length:].any()
        assert batch.labels[row] == f"word{int(cut_id) % 3}"


def test_epochs_and_seeds_differ_in_order_and_crops():
    lengths = [3000] * 30
    first, second = stream(lengths, 0), stream(lengths, 1)
    orders = {
        tuple(tuple(batches.batch(step).cut_ids) for step in range(epoch * n, (epoch + 1) * n))
        for batches in (first, second)
        for epoch in range(3)
        for n in [batches.num_batches]
    }
    assert len(orders) == 6
    starts = [start for step in range(30) for start in first.batch(step).starts]
    assert len(set(starts)) > 50
    assert min(starts) < 100 < 1300 < max(starts)


def test_a_far_step_is_reached_without_reading_what_lies_before():
    cuts, packed = make_set([1000] * 50)
    read = []

    class Counting(PackedAudio):
        def waveform(self, cut_id, start=0, num_samples=None):
            read.append(cut_id)
            return super().waveform(cut_id, start, num_samples)

    counting = Counting(packed.samples, packed.spans)
    batches = Batches(
        cuts, counting, batch_seconds=0.25, crop_seconds=1.0, seed=0, start_step=10**9
    )
    batch = next(iter(batches))
    assert batch.step == 10**9
    assert read == batch.cut_ids


def test_recordings_of_like_length_meet():
    rng = np.random.default_rng(0)
    lengths = rng.integers(100, 16_000, size=500).tolist()
    batches = stream(lengths, 0, batch_seconds=10.0, crop_seconds=1.0)
    padded = sum(batches.batch(step).waveform.numel() for step in range(batches.num_batches))
    assert sum(lengths) / padded > 0.85  # in a random order it is 0.51


@settings(deadline=None)
@given(lengths=sets, batch_size=st.integers(1, 10))
def test_fixed_batches_hold_every_recording_whole_in_a_stable_order(lengths, batch_size):
    cuts, packed = make_set(lengths)
    batches = FixedBatches(cuts, packed, batch_size)
    ids = [cut_id for batch in batches for cut_id in batch.cut_ids]
    assert sorted(ids) == list(cuts.ids)
    assert len(batches) == -(-len(lengths) // batch_size)
    for batch, again in zip(batches, FixedBatches(cuts, packed, batch_size), strict=True):
        assert_same(batch, again)
        assert batch.num_samples == [packed.num_samples(cut_id) for cut_id in batch.cut_ids]
    assert_same(batches[-1], batches[len(batches) - 1])
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_an_empty_set_and_impossible_settings_are_refused():
    cuts, packed = make_set([100])
    with pytest.raises(DataError, match="no recordings"):
        Batches(type(cuts)({}), packed, batch_seconds=1.0, crop_seconds=1.0, seed=0)
    with pytest.raises(ValueError, match="must be positive"):
        Batches(cuts, packed, batch_seconds=0.0, crop_seconds=1.0, seed=0)
    with pytest.raises(ValueError, match="0 or more"):
        Batches(cuts, packed, batch_seconds=1.0, crop_seconds=1.0, seed=-1)
    with pytest.raises(ValueError, match="1 or more"):
        FixedBatches(cuts, packed, 0)


def test_a_corpus_in_the_order_of_its_labels_makes_mixed_batches():
    """Clips of one length in the order of ten words: no batch may hold a word or two alone."""
    cuts, packed = make_set([1600] * 398 + [1500, 1400])
    words = {cut.id: f"word{index * 10 // len(cuts)}" for index, cut in enumerate(cuts)}
    batches = Batches(cuts, packed, batch_seconds=2.0, crop_seconds=0.1, seed=0)
    assert batches.num_batches >= 20
    for step in range(batches.num_batches):
        assert len({words[cut_id] for cut_id in batches.batch(step).cut_ids}) >= 5


@given(lengths=sets, seed=seeds)
def test_rows_of_a_length_of_their_own_are_as_many_in_every_batch(lengths, seed):
    cuts, packed = make_set(lengths)
    batches = Batches(cuts, packed, batch_seconds=2.0, crop_seconds=1.0, seed=seed, row_seconds=0.5)
    rows = [len(batches.batch(step).rows) for step in range(batches.num_batches)]
    assert sum(rows) == len(lengths)
    assert max(rows) <= 4
    assert max(rows) - min(rows) <= 1
    epoch = [batches.batch(step) for step in range(batches.num_batches)]
    assert sorted(n for batch in epoch for n in batch.num_samples) == sorted(lengths)
