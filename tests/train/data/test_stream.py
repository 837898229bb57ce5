"""Laws of the streamed batches: epochs, shares, resume, limits, and what is opened."""

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from train.config import BatchConfig
from train.data import stream as stream_module
from train.data.batches import Share
from train.data.cuts import recording_cut, sorted_cuts
from train.data.shards import waveforms, write_shards
from train.data.stream import ShardedRecordings, StreamedBatches
from train.errors import DataError

NUM_CUTS = 60


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """60 recordings of 0.05 to 1.2 s of noise, in shards of 4 s."""
    root = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    cuts = []
    for index in range(NUM_CUTS):
        length = int(rng.integers(800, 19_200))
        samples = rng.integers(-20_000, 20_000, length).astype(np.int16)
        path = root / f"{index:02d}.flac"
        soundfile.write(path, samples, 16_000)
        cuts.append(
            recording_cut(
                path.name,
                path,
                duration_s=length / 16_000,
                partition="train",
                label=f"word{index % 3}",
            )
        )
    return write_shards(sorted_cuts(cuts), root / "shards", seconds_per_shard=4.0)


@pytest.fixture(scope="module")
def whole(shards):
    """Every recording's samples."""
    return dict(waveforms(shards))


def stream(shards, seed=0, start_step=0, share=None, **settings):
    return StreamedBatches(
        shards,
        seed=seed,
        start_step=start_step,
        share=share or Share(),
        **{"batch_seconds": 3.0, "crop_seconds": 0.8, "buffer_cuts": 1, **settings},
    )


def epoch_of(batches, epoch=0):
    """The batches of one epoch; how many they are is known before they are read."""
    first = sum(batches._num_batches(earlier) for earlier in range(epoch))
    last = first + batches._num_batches(epoch)
    return list(itertools.islice(iter(batches), first, last))


def ids(batches):
    return [cut_id for batch in batches for cut_id in batch.cut_ids]


def assert_same(first, second):
    assert (first.cut_ids, first.starts, first.labels) == (
        second.cut_ids, second.starts, second.labels,
    )  # fmt: skip
    assert (first.num_samples, first.rows, first.step) == (
        second.num_samples, second.rows, second.step,
    )  # fmt: skip
    assert torch.equal(first.waveform, second.waveform)
    assert torch.equal(first.lengths, second.lengths)


@pytest.mark.parametrize("buffer_cuts", [1, 1000])
@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_every_recording_is_seen_once_an_epoch_by_one_process(shards, world_size, buffer_cuts):
    streams = [
        stream(shards, share=Share(rank, world_size), buffer_cuts=buffer_cuts)
        for rank in range(world_size)
    ]
    for epoch in range(2):
        seen = [ids(epoch_of(batches, epoch)) for batches in streams]
        assert sorted(itertools.chain(*seen)) == sorted(
            waveform[0] for waveform in waveforms(shards)
        )
        assert all(seen)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 99),
    step=st.integers(0, 60),
    rank=st.integers(0, 1),
    world_size=st.integers(2, 3),
    passes=st.integers(1, 2),
    buffer_cuts=st.sampled_from([1, 30, 1000]),
)
def test_a_resumed_stream_equals_an_uninterrupted_one(
    shards, seed, step, rank, world_size, passes, buffer_cuts
):
    share = Share(rank, world_size, passes)
    walked = stream(shards, seed, share=share, buffer_cuts=buffer_cuts)
    resumed = stream(shards, seed, step, share=share, buffer_cuts=buffer_cuts)
    expected = itertools.islice(iter(walked), step * passes, (step + 3) * passes)
    for first, second in zip(itertools.islice(iter(resumed), 3 * passes), expected, strict=True):
        assert_same(first, second)


def test_steps_passes_and_rows_are_numbered(shards):
    share = Share(rank=1, world_size=2, passes=3)
    batches = list(itertools.islice(iter(stream(shards, start_step=4, share=share)), 9))
    assert [batch.step for batch in batches] == [4, 4, 4, 5, 5, 5, 6, 6, 6]
    for batch in batches:
        assert batch.rows == list(range(batch.rows[0], batch.rows[0] + len(batch.cut_ids)))
    other = list(itertools.islice(iter(stream(shards, start_step=4, share=Share(0, 2, 3))), 9))
    for step in (4, 5, 6):
        rows = [row for batch in (*batches, *other) if batch.step == step for row in batch.rows]
        assert len(rows) == len(set(rows))


@pytest.mark.parametrize("parts", [1, 3])
def test_no_batch_is_above_the_limit_padding_included(shards, parts):
    share = Share(0, 1, parts)
    sizes = set()
    for batch in epoch_of(stream(shards, batch_seconds=3.0, share=share)):
        assert batch.waveform.numel() <= 48_000 // parts or len(batch.cut_ids) == 1
        assert batch.waveform.shape[1] <= 12_800
        sizes.add(len(batch.cut_ids))
    assert max(sizes) > 1


def test_a_row_longer_than_the_limit_stands_alone(shards):
    batches = epoch_of(stream(shards, batch_seconds=0.5, crop_seconds=0.8))
    assert all(len(batch.cut_ids) == 1 for batch in batches if batch.waveform.shape[1] > 8_000)


def test_recordings_of_like_length_meet(shards):
    batches = epoch_of(stream(shards, batch_seconds=4.0, crop_seconds=1.2, buffer_cuts=1000))
    padded = sum(batch.waveform.numel() for batch in batches)
    assert sum(sum(batch.num_samples) for batch in batches) / padded > 0.85


def test_a_row_is_its_recording_from_its_start_and_zeros_after(shards, whole):
    cropped = 0
    for batch in epoch_of(stream(shards)):
        assert batch.waveform.dtype == torch.float32
        assert batch.lengths.tolist() == batch.num_samples
        for row, cut_id in enumerate(batch.cut_ids):
            length, start = batch.num_samples[row], batch.starts[row]
            assert length == min(len(whole[cut_id]), 12_800)
            expected = whole[cut_id][start : start + length]
            np.testing.assert_array_equal(batch.waveform[row, :length].numpy(), expected)
            assert not batch.waveform[row, length:].any()
            assert batch.labels[row] == f"word{int(cut_id[:2]) % 3}"
            cropped += start > 0
            draw = np.random.default_rng([0, 2, batch.step, batch.rows[row]]).random()
            assert start == int(draw * (len(whole[cut_id]) - length + 1))
    assert cropped > 5


def test_trimmed_rows_need_no_padding(shards, whole):
    for batch in epoch_of(stream(shards, trim=True)):
        shortest = min(len(whole[cut_id]) for cut_id in batch.cut_ids)
        assert batch.num_samples == [min(shortest, 12_800)] * len(batch.cut_ids)
        for row, cut_id in enumerate(batch.cut_ids):
            start = batch.starts[row]
            expected = whole[cut_id][start : start + batch.num_samples[row]]
            np.testing.assert_array_equal(batch.waveform[row].numpy(), expected)


def test_epochs_and_seeds_differ_in_order_batches_and_crops(shards):
    first = stream(shards)
    orders = [ids(epoch_of(first, epoch)) for epoch in range(2)]
    orders.append(ids(epoch_of(stream(shards, seed=1))))
    assert len({tuple(order) for order in orders}) == 3
    batches = [
        {frozenset(batch.cut_ids) for batch in epoch_of(first, epoch) if len(batch.cut_ids) > 2}
        for epoch in range(2)
    ]
    assert len(batches[0] & batches[1]) < len(batches[0]) / 2
    starts = [
        {
            cut: start
            for b in epoch_of(first, e)
            for cut, start in zip(b.cut_ids, b.starts, strict=True)
        }
        for e in range(2)
    ]
    moved = [cut for cut in starts[0] if starts[0][cut] or starts[1][cut]]
    assert sum(starts[0][cut] != starts[1][cut] for cut in moved) > 0.9 * len(moved)


def test_shards_are_dealt_and_their_recordings_shuffled_anew_every_epoch(shards):
    dealt = [
        {
            cut
            for batch in epoch_of(stream(shards, share=Share(0, 2)), epoch)
            for cut in batch.cut_ids
        }
        for epoch in range(3)
    ]
    assert len({frozenset(seen) for seen in dealt}) > 1
    # Of a single shard, only the sampler's own shuffle can change the order.
    orders = {tuple(ids(epoch_of(stream(shards[:1]), epoch))) for epoch in range(3)}
    assert len(orders) == 3


def test_short_recordings_are_left_out_and_none_left_is_told(shards, whole):
    seen = ids(epoch_of(stream(shards, min_seconds=0.6)))
    assert sorted(seen) == sorted(cut for cut in whole if len(whole[cut]) >= 9_600)
    for start_step in (0, 3):
        with pytest.raises(DataError, match=rf"no recording of {len(shards)} shards lasts 5 s"):
            next(iter(stream(shards, min_seconds=5.0, start_step=start_step)))


@pytest.fixture
def sources(monkeypatch):
    """The shards that a stream has dealt out, in order."""
    made = []
    original = stream_module._OpenShard

    def kept(shard):
        made.append(original(shard))
        return made[-1]

    monkeypatch.setattr(stream_module, "_OpenShard", kept)
    return made


@pytest.fixture
def opened(monkeypatch):
    """Names of the tars that are opened, and of the descriptions."""
    names = {"tars": [], "cuts": []}
    recordings, entries = stream_module.recordings, stream_module.entries

    def counted(kind, original, source):
        def run(shard):
            names[kind].append(Path(source(shard)).name)
            return original(shard)

        return run

    monkeypatch.setattr(
        stream_module, "recordings", counted("tars", recordings, lambda shard: shard.recording)
    )
    monkeypatch.setattr(
        stream_module, "entries", counted("cuts", entries, lambda shard: shard.cuts)
    )
    return names


def test_only_the_shards_that_are_needed_are_opened_and_each_once(shards, opened):
    # One recording a batch: the buffer holds one a bucket, eight of some seven in a shard.
    batches = stream(shards, batch_seconds=0.8)
    next(iter(batches))
    assert len(opened["tars"]) == 1
    assert len(opened["cuts"]) <= 3
    for names in opened.values():
        names.clear()
    epoch_of(stream(shards, batch_seconds=0.8))
    assert len(opened["tars"]) == len(set(opened["tars"])) == len(shards)


def test_what_was_replayed_is_neither_decoded_nor_kept(shards, opened, sources, monkeypatch):
    batches = stream(shards, batch_seconds=0.8)
    late = batches._num_batches(0) + batches._num_batches(1) - 3
    expected = list(itertools.islice(iter(batches), late, late + 1))
    decoded = []
    original = stream_module.decoded
    monkeypatch.setattr(
        stream_module,
        "decoded",
        lambda recording, *rest: decoded.append(recording.id) or original(recording, *rest),
    )
    sources.clear()
    for names in opened.values():
        names.clear()
    found = next(iter(stream(shards, batch_seconds=0.8, start_step=late)))
    assert_same(found, expected[0])
    assert sorted(decoded) == sorted(found.cut_ids)
    # Two batches are left of the epoch.
    assert sum(len(source._held or {}) for source in sources) <= 2 * max(batches._sizes)
    assert len(opened["tars"]) <= len(found.cut_ids) < len(shards)
    # Once to count the epochs, once more to replay the one.
    assert len(opened["cuts"]) <= 2 * len(shards)


def test_audio_is_let_go_when_it_was_used(shards, whole, sources):
    batches = stream(shards, batch_seconds=0.8)
    most = 0
    for _ in itertools.islice(iter(batches), batches._num_batches(0)):
        most = max(most, sum(len(source._held or {}) for source in sources))
    assert all(not source._held for source in sources[: len(shards)])
    # The buffer and what is left of the shard that is being dealt.
    assert most <= batches._buffer_cuts + 10 < NUM_CUTS
    # What is too short is not kept at all.
    sources.clear()
    batches = stream(shards, min_seconds=0.6)
    usable = {cut for cut in whole if len(whole[cut]) >= 9_600}
    for _ in itertools.islice(iter(batches), batches._num_batches(0)):
        assert all(usable.issuperset(source._held or {}) for source in sources)


def test_damage_and_loss_are_named_in_one_line(shards, tmp_path):
    folder = tmp_path / "shards"
    shutil.copytree(Path(shards[0].cuts).parent, folder)
    tar = folder / "recording.000004.tar"
    data = tar.read_bytes()
    for bad in (data[: len(data) // 2], b"", data[:700] + b"\0" * 9000 + data[9700:]):
        tar.write_bytes(bad)
        with pytest.raises(DataError, match=r"recording\.000004\.tar is damaged") as raised:
            epoch_of(stream(folder))
        assert "\n" not in str(raised.value)
    tar.write_bytes((folder / "recording.000005.tar").read_bytes())
    with pytest.raises(DataError, match=r"recording\.000004\.tar is damaged \(it lacks \d\d\.flac"):
        epoch_of(stream(folder))
    tar.unlink()
    with pytest.raises(DataError, match=r"recording\.000004\.tar is missing"):
        stream(folder)


def test_one_worker_of_a_loader_gives_the_same_and_several_are_refused(shards, monkeypatch):
    batches = stream(shards)
    loaded = DataLoader(batches, batch_size=None, num_workers=1)
    for first, second in zip(itertools.islice(loaded, 3), iter(batches), strict=False):
        assert_same(first, second)
    monkeypatch.setattr(
        stream_module, "get_worker_info", lambda: SimpleNamespace(id=0, num_workers=2)
    )
    with pytest.raises(DataError, match="read by one worker, not 2"):
        next(iter(batches))


def test_impossible_settings_are_refused(shards):
    with pytest.raises(DataError, match="99 processes cannot share"):
        stream(shards, share=Share(0, 99))
    with pytest.raises(ValueError, match="must be positive"):
        stream(shards, batch_seconds=0.0)
    with pytest.raises(ValueError, match="0 or more"):
        stream(shards, seed=-1)


def test_a_run_takes_shards_as_its_source(shards, whole, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    source = ShardedRecordings.of(Path(shards[0].cuts).parent, min_seconds=0.3)
    config = BatchConfig(seconds=6.0, device_seconds=1.5, crop_seconds=0.8, min_seconds=0.3)
    batches = source.batches(config, seed=3, start_step=2)
    assert batches.share == Share(1, 2, 2)
    expected = stream(
        shards, 3, 2, Share(1, 2, 2), batch_seconds=6.0, min_seconds=0.3, buffer_cuts=1000
    )
    assert_same(next(iter(batches)), next(iter(expected)))
    heard = dict(source.waveforms())
    assert sorted(heard) == sorted(cut for cut in whole if len(whole[cut]) >= 4_800)
