"""Tar shards: what is written comes back bit for bit, and damage is named."""

import gzip
import http.server
import json
import tarfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.data.cuts import recording_cut, sorted_cuts
from train.data.shards import Shard, decoded, entries, find_shards, recordings, waveforms
from train.data.shards import write_shards as write
from train.errors import DataError


@pytest.fixture(scope="module")
def shards(corpus, tmp_path_factory):
    """The shared corpus, 17 s, as shards of 3 s."""
    return write(read_corpus(corpus), tmp_path_factory.mktemp("s") / "out", seconds_per_shard=3.0)


def test_every_recording_comes_back_bit_for_bit_and_in_a_stable_order(corpus, shards):
    cuts = read_corpus(corpus)
    packed = PackedAudio.of(cuts, progress=False)
    found = dict(waveforms(shards))
    assert sorted(found) == sorted(cuts.ids)
    for cut_id, waveform in found.items():
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform, packed.waveform(cut_id))
    assert [cut_id for cut_id, _ in waveforms(shards)] == list(found)
    assert list(found) != sorted(found)  # shuffled


def test_descriptions_tell_lengths_and_labels_without_audio(corpus, shards, monkeypatch):
    labels = {cut.id: cut.supervisions[0].text for cut in read_corpus(corpus)}
    lengths = {cut_id: len(waveform) for cut_id, waveform in waveforms(shards)}
    monkeypatch.delattr("lhotse.shar.TarIterator")
    held = [entry for shard in shards for entry in entries(shard)]
    assert {entry.cut_id: entry.label for entry in held} == labels
    assert {entry.cut_id: entry.num_samples for entry in held} == lengths


def test_shards_are_of_like_duration(shards):
    seconds = [sum(entry.num_samples for entry in entries(shard)) / 16_000 for shard in shards]
    assert len(shards) == round(sum(seconds) / 3.0)
    assert max(seconds) - min(seconds) <= 2.0  # two recordings of a second


def test_lhotse_reads_what_we_write(corpus, shards):
    from lhotse import CutSet

    expected = {cut.id: cut for cut in read_corpus(corpus)}
    folder = shards[0].cuts.rpartition("/")[0]
    tars = sorted(shard.recording for shard in shards)
    cuts = CutSet.from_shar({"cuts": sorted(shard.cuts for shard in shards), "recording": tars})
    assert all(path.startswith(folder) for path in tars)
    for cut in cuts:
        other = expected[cut.id]
        assert cut.supervisions[0].text == other.supervisions[0].text
        assert cut.partition == other.partition
        np.testing.assert_allclose(cut.load_audio(), other.load_audio(), atol=1e-7)


def test_writing_again_gives_the_same_shards_and_another_seed_others(corpus, tmp_path):
    cuts = read_corpus(corpus)
    orders = [
        [cut_id for cut_id, _ in waveforms(write(cuts, tmp_path, seconds_per_shard=5.0, seed=seed))]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_a_part_of_a_recording_is_the_part_of_its_samples(shards):
    cut_id, recording = next(recordings(shards[0]))
    whole = dict(waveforms(shards[:1]))[cut_id]
    part = decoded(recording, shards[0], start=1234, length=3001)
    np.testing.assert_array_equal(part, whole[1234:4235])


def test_windows_are_cut_and_other_rates_and_channels_converted(tmp_path, write_tone):
    path = write_tone("a.wav", seconds=3.0, rate=8_000, channels=2)
    cuts = sorted_cuts(
        recording_cut(
            f"a.wav#{start}", path, duration_s=3.0, partition="train", window_s=(start, 1.0)
        )
        for start in (0.0, 2.0)
    )
    found = dict(waveforms(write(cuts, tmp_path / "out", seconds_per_shard=10.0)))
    packed = PackedAudio.of(cuts, progress=False)
    for cut_id in ("a.wav#0.0", "a.wav#2.0"):
        assert len(found[cut_id]) == 16_000
        np.testing.assert_array_equal(found[cut_id], packed.waveform(cut_id))


def test_foreign_shards_of_another_rate_are_resampled_and_averaged(tmp_path):
    from lhotse import MultiCut, Recording
    from lhotse.shar import SharWriter

    time = np.arange(8_000) / 8_000
    tones = np.stack([0.8 * np.sin(2 * np.pi * 440 * time), np.zeros(8_000)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", tones, 8_000)
    recording = Recording.from_file(tmp_path / "stereo.wav")
    (tmp_path / "out").mkdir()
    with SharWriter(tmp_path / "out", fields={"recording": "wav"}) as writer:
        writer.write(MultiCut("one", 0.0, 1.0, [0, 1], recording=recording))
    (shard,) = find_shards(tmp_path / "out")
    (entry,) = entries(shard)
    assert (entry.num_samples, entry.label) == (16_000, "")
    ((cut_id, waveform),) = waveforms([shard])
    assert (cut_id, len(waveform)) == ("one", 16_000)
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    # 16-bit rounding is 2e-5; the filter rings at both ends.
    np.testing.assert_allclose(waveform[500:-500], expected[500:-500], atol=1e-3)
    ((_, recording),) = recordings(shard)
    part = decoded(recording, shard, start=4_000, length=6_001)
    assert len(part) == 6_001
    np.testing.assert_allclose(part[500:-500], expected[4_500:9_501], atol=1e-3)


def test_an_id_that_leaves_the_tar_and_an_empty_set_are_refused(tmp_path, write_tone):
    path = write_tone("a.wav")
    cuts = sorted_cuts([recording_cut("../a", path, duration_s=0.5, partition="train")])
    with pytest.raises(DataError, match=r"'\.\./a' cannot be a file's name"):
        write(cuts, tmp_path / "out", seconds_per_shard=1.0)
    with pytest.raises(DataError, match="no recordings"):
        write(sorted_cuts([]), tmp_path / "out", seconds_per_shard=1.0)
    with pytest.raises(ValueError, match="must be positive"):
        write(cuts, tmp_path / "out", seconds_per_shard=0.0)
    assert not (tmp_path / "out").exists()


def test_a_recording_shorter_than_stated_is_refused(tmp_path, write_tone):
    cuts = sorted_cuts(
        [recording_cut("a", write_tone("a.flac"), duration_s=9.0, partition="train")]
    )
    with pytest.raises(DataError, match=r"a\.flac holds 0\.500 s where 9\.000 s are stated"):
        write(cuts, tmp_path / "out", seconds_per_shard=1.0)


@pytest.fixture
def own(corpus, tmp_path):
    """Shards that a test may break."""
    return write(read_corpus(corpus), tmp_path / "own", seconds_per_shard=6.0)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:512],
        lambda data: b"",
        lambda data: b"no tar" * 1000,
        lambda data: data[:700] + b"\0" * 9000 + data[9700:],
    ],
    ids=["half", "header", "empty", "other", "zeros"],
)
def test_a_damaged_tar_is_named_in_one_line(own, break_it):
    with open(own[1].recording, "r+b") as stream:
        data = break_it(stream.read())
        stream.seek(0)
        stream.truncate()
        stream.write(data)
    with pytest.raises(DataError, match=r"recording\.000001\.tar is damaged") as raised:
        list(waveforms(own))
    assert "\n" not in str(raised.value)


def test_a_tar_that_ends_between_two_recordings_is_named(own):
    with tarfile.open(own[1].recording) as tar:
        third = tar.getmembers()[4].offset
    data = Path(own[1].recording).read_bytes()
    Path(own[1].recording).write_bytes(data[:third] + bytes(10_240))
    with pytest.raises(DataError, match=r"000001\.tar is damaged \(2 of \d recordings\)"):
        list(waveforms(own))


def test_damaged_and_doubled_descriptions_are_named(own):
    lines = gzip.decompress(Path(own[0].cuts).read_bytes()).splitlines()
    for bad, said in (
        (lines[0][:40], r"cuts\.000000\.jsonl\.gz, line 2 describes no"),
        (lines[0], r"cuts\.000000\.jsonl\.gz, line 2 repeats"),
        (b'{"id": "x", "tracks": []}', "line 2 describes no"),
    ):
        with gzip.open(own[0].cuts, "wb") as stream:
            stream.write(lines[0] + b"\n" + bad + b"\n")
        with pytest.raises(DataError, match=said):
            entries(own[0])
    with open(own[0].cuts, "wb") as stream:
        stream.write(b"\x1f\x8bno")
    with pytest.raises(DataError, match=r"cuts\.000000\.jsonl\.gz is damaged"):
        entries(own[0])


def test_a_missing_half_is_told_when_the_shards_are_listed(own):
    folder = own[0].cuts.rpartition("/")[0]
    Path(own[2].recording).unlink()
    for source in (folder, own):
        with pytest.raises(DataError, match=r"recording\.000002\.tar is missing"):
            find_shards(source)
    with pytest.raises(DataError, match=r"recording\.000002\.tar is missing"):
        list(waveforms(own))


def test_an_index_may_list_urls_but_never_commands(tmp_path):
    index = tmp_path / "shards.json"
    for listed, said in (
        ("[]", "is no list of shards"),
        ('{"shards": []}', "lists no shards"),
        ('{"shards": [{"cuts": "a"}]}', "is no list of shards"),
        ('{"shards": [{"cuts": "pipe:touch ran", "recording": "b"}]}', "not commands"),
    ):
        index.write_text(listed)
        with pytest.raises(DataError, match=said):
            find_shards(index)
    index.write_text(json.dumps({"shards": [{"cuts": "http://a/c", "recording": "s3://b/r"}]}))
    assert find_shards(tmp_path) == [Shard("http://a/c", "s3://b/r")]
    with pytest.raises(DataError, match="does not exist"):
        find_shards(tmp_path / "absent")


def test_shards_are_read_over_http_and_from_commands(shards, monkeypatch):
    folder = shards[0].cuts.rpartition("/")[0]
    expected = list(waveforms(shards))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=folder)
    ) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        remote = find_shards(f"http://127.0.0.1:{listening.server_port}")
        assert remote[0].recording.startswith("http://127.0.0.1")
        found = list(waveforms(remote))
        gone = Shard(remote[0].cuts, remote[0].recording + "x")
        with pytest.raises(DataError, match=r"000000\.tarx cannot be had: the server answers 404"):
            list(waveforms([gone]))
        listening.shutdown()
    commands = [Shard(f"pipe:cat {shard.cuts}", f"pipe:cat {shard.recording}") for shard in shards]
    for got in (found, list(waveforms(find_shards(commands)))):
        assert [cut_id for cut_id, _ in got] == [cut_id for cut_id, _ in expected]
        for (_, waveform), (_, other) in zip(got, expected, strict=True):
            np.testing.assert_array_equal(waveform, other)
    remote = Shard(commands[0].cuts, "s3://bucket/tar")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match="pip install smart_open"):
        list(waveforms([remote]))
    failing = Shard(commands[0].cuts, "pipe:false")
    with pytest.raises(
        DataError, match=r"shard pipe:false is damaged \(the command ended with 1\)"
    ):
        list(waveforms([failing]))
