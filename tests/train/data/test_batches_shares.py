"""Laws of shares: whoever reads them, in however many passes, an update's rows are the same."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.audio import PackedAudio
from train.data.batches import Batches, Share
from train.data.cuts import recording_cut, sorted_cuts
from train.errors import DataError

ALL = Share()
SAMPLES = (np.arange(200_000) % 30_000 + 1).astype(np.int16)


def stream(lengths, *, seed=0, trim=False, share=ALL, batch_seconds=0.8):
    """Batches of recordings of these lengths in samples, cropped to 0.1 s."""
    ends = np.cumsum(lengths)
    cuts = sorted_cuts(
        recording_cut(
            f"{index:03d}", f"/{index}", duration_s=n / 16_000, partition="train", label="w"
        )
        for index, n in enumerate(lengths)
    )
    spans = {f"{i:03d}": (int(ends[i] - n), int(ends[i])) for i, n in enumerate(lengths)}
    return Batches(
        cuts,
        PackedAudio(SAMPLES, spans),
        batch_seconds=batch_seconds,
        crop_seconds=0.1,
        seed=seed,
        trim=trim,
        share=share,
    )


def dealt(lengths, world_size, passes, **options):
    """The streams of all processes."""
    shares = [Share(rank, world_size, passes) for rank in range(world_size)]
    return [stream(lengths, share=share, **options) for share in shares]


def rows_of(batch):
    """What each row is, whatever it stands beside."""
    return {
        number: (
            batch.cut_ids[row],
            batch.starts[row],
            batch.labels[row],
            batch.waveform[row, : batch.num_samples[row]].tolist(),
        )
        for row, number in enumerate(batch.rows)
    }


# Enough for six parts of every update: 0.8 s hold eight rows of 0.1 s.
sets = st.lists(st.integers(200, 3000), min_size=64, max_size=66)


@settings(deadline=None, max_examples=30)
@given(
    lengths=sets,
    seed=st.integers(0, 99),
    step=st.integers(0, 40),
    world_size=st.sampled_from([1, 2, 3]),
    passes=st.sampled_from([1, 2]),
)
def test_the_parts_of_an_update_are_its_rows_each_once(lengths, seed, step, world_size, passes):
    """Crops included: a row's start does not depend on who reads it."""
    whole = rows_of(stream(lengths, seed=seed).batch(step))
    parts = [
        rows_of(batches.batch(step, number))
        for batches in dealt(lengths, world_size, passes, seed=seed)
        for number in range(passes)
    ]
    assert sum(map(len, parts)) == len(whole)
    assert {number: row for part in parts for number, row in part.items()} == whole
    assert sorted(whole) == list(range(len(whole)))


@settings(deadline=None, max_examples=30)
@given(
    lengths=sets, step=st.integers(0, 40), world_size=st.integers(1, 3), passes=st.integers(1, 2)
)
def test_parts_differ_by_one_row_at_most(lengths, step, world_size, passes):
    sizes = [
        len(batches.batch(step, number).rows)
        for batches in dealt(lengths, world_size, passes)
        for number in range(passes)
    ]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


def test_a_process_reads_its_passes_of_one_update_then_those_of_the_next():
    for batches in dealt([1600] * 64, 2, 2):
        seen = list(itertools.islice(batches, 6))
        assert [batch.step for batch in seen] == [0, 0, 1, 1, 2, 2]
        for position, batch in enumerate(seen):
            again = batches.batch(position // 2, position % 2)
            assert batch.rows == again.rows
            assert torch.equal(batch.waveform, again.waveform)


@settings(deadline=None, max_examples=30)
@given(lengths=sets, step=st.integers(0, 40))
def test_trimmed_rows_are_as_long_as_the_shortest_of_their_pass(lengths, step):
    """Which is why trimming, unlike padding, makes a run depend on its shares."""
    for batches in dealt(lengths, 2, 2, trim=True):
        for number in range(2):
            batch = batches.batch(step, number)
            longest = [min(lengths[int(cut_id)], 1600) for cut_id in batch.cut_ids]
            assert batch.num_samples == [min(longest)] * len(longest)
            assert batch.waveform.shape[1] == min(longest)
            assert batch.padded_lengths is None
            for start, cut_id in zip(batch.starts, batch.cut_ids, strict=True):
                assert 0 <= start <= lengths[int(cut_id)] - min(longest)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(200, 3000), min_size=1, max_size=30), parts=st.integers(1, 12))
def test_too_few_rows_for_a_part_are_refused_at_once_and_no_part_is_ever_empty(lengths, parts):
    try:
        batches = stream(lengths, share=Share(0, parts, 1))
    except DataError:
        smallest = min(
            len(stream(lengths).batch(step).rows) for step in range(stream(lengths).num_batches)
        )
        assert smallest < parts
    else:
        for step in range(batches.num_batches):
            assert batches.batch(step).rows


def test_the_refusal_says_what_to_change():
    with pytest.raises(
        DataError,
        match=r"as few as 8 recordings, and 3 processes in 3 passes need 9; raise batch\.seconds, "
        r"or batch\.device_seconds, or use fewer processes",
    ):
        stream([1600] * 64, share=Share(2, 3, 3))
