"""Updates of labelled and unlabelled recordings: shares, draws of their own, and going on."""

from itertools import islice

import numpy as np
import pytest
import torch
from lhotse import CutSet

from train.config import BatchConfig
from train.data.audio import PackedAudio
from train.data.cuts import recording_cut
from train.data.mixed import MixedRecordings
from train.data.source import Recordings

CONFIG = BatchConfig(seconds=10.0, crop_seconds=2.0, min_seconds=0.1)


@pytest.fixture(scope="module")
def recordings():
    rng = np.random.default_rng(0)
    lengths = rng.integers(8_000, 20_000, 60)
    ends = np.cumsum(lengths)
    names = [f"{'told' if number < 15 else 'untold'}{number}" for number in range(60)]
    spans = {
        name: (int(end - length), int(end))
        for name, end, length in zip(names, ends, lengths, strict=True)
    }
    packed = PackedAudio(rng.normal(0, 0.1, int(ends[-1])).astype(np.float32), spans)

    def of(kind):
        return Recordings(
            CutSet.from_cuts(
                recording_cut(name, name, duration_s=1.0, partition="train")
                for name in names
                if name.startswith(kind)
            ),
            packed,
        )

    return of("told"), of("untold")


def batches(recordings, share, number, *, start_step=0, seed=0, config=CONFIG):
    source = MixedRecordings(*recordings, share)
    return list(islice(source.batches(config, seed=seed, start_step=start_step), number))


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_each_kind_has_its_share_of_the_audio(recordings, share):
    made = batches(recordings, share, 40)
    heard = {True: 0, False: 0}
    for batch in made:
        assert {cut_id.startswith("told") for cut_id in batch.cut_ids} == {True, False}
        for cut_id, samples in zip(batch.cut_ids, batch.num_samples, strict=True):
            heard[cut_id.startswith("untold")] += samples
        assert len(batch.cut_ids) * max(batch.num_samples) <= 16_000 * 10.0 * 1.3
    assert heard[True] / sum(heard.values()) == pytest.approx(share, abs=0.06)


def test_rows_are_the_recordings_and_no_two_draw_alike(recordings):
    packed = recordings[0].packed
    for step, batch in enumerate(batches(recordings, 0.4, 6)):
        assert batch.step == step
        assert len(set(batch.rows)) == len(batch.rows) == len(batch.waveform)
        for row, cut_id in enumerate(batch.cut_ids):
            length = batch.num_samples[row]
            assert int(batch.lengths[row]) == length == packed.num_samples(cut_id)
            assert np.array_equal(batch.waveform[row, :length].numpy(), packed.waveform(cut_id))
            assert not batch.waveform[row, length:].any()


def test_a_stream_that_starts_later_goes_on_as_one_that_came_there(recordings):
    whole = batches(recordings, 0.5, 9)
    for first, second in zip(whole[6:], batches(recordings, 0.5, 3, start_step=6), strict=True):
        assert first.cut_ids == second.cut_ids
        assert first.rows == second.rows
        assert torch.equal(first.waveform, second.waveform)


def test_the_passes_of_an_update_hold_both_kinds_and_its_rows_once(recordings):
    config = BatchConfig(seconds=10.0, device_seconds=5.0, crop_seconds=2.0, min_seconds=0.1)
    passes = batches(recordings, 0.5, 4, config=config)
    assert [batch.step for batch in passes] == [0, 0, 1, 1]
    for first, second, whole in zip(
        passes[::2], passes[1::2], batches(recordings, 0.5, 2), strict=True
    ):
        assert sorted(first.cut_ids + second.cut_ids) == sorted(whole.cut_ids)
        assert sorted(first.rows + second.rows) == sorted(whole.rows)
