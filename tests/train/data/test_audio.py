"""Decoding and the packed cache."""

import resource
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from train.data.audio import PackedAudio, cache_folder, decode, to_int16
from train.data.corpus import read_corpus
from train.errors import DataError


def test_a_tone_at_8_khz_comes_out_at_16_khz_with_its_pitch_and_level(write_tone):
    waveform = decode(write_tone("tone.wav", rate=8000, hz=1000.0))
    assert waveform.dtype == np.float32
    assert len(waveform) == 8000
    time = np.arange(len(waveform)) / 16_000
    inner = slice(400, -400)  # the resampler's filter rings at the edges
    expected = 0.5 * np.sin(2 * np.pi * 1000.0 * time)
    np.testing.assert_allclose(waveform[inner], expected[inner], atol=2e-3)


def test_stereo_is_averaged(tmp_path):
    left, right = np.full(100, 0.5), np.full(100, -0.25)
    for name in ("stereo.wav", "stereo.flac"):
        soundfile.write(tmp_path / name, np.stack([left, right], axis=1), 16_000)
        np.testing.assert_array_equal(decode(tmp_path / name), np.full(100, 0.125, np.float32))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_every_format_decodes_to_the_same_tone(write_tone, name):
    waveform = decode(write_tone(name, seconds=1.0))
    assert abs(len(waveform) - 16_000) <= 2400  # MP3 pads whole frames
    assert np.sqrt(np.mean(waveform[4000:12_000] ** 2)) == pytest.approx(0.5 / 2**0.5, rel=0.02)


def damage(path, kind):
    if kind == "text":
        path.write_text("this is no audio, whatever its name says")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0), 16_000, format=path.suffix[1:])
    elif kind == "nan":
        soundfile.write(path, np.array([0.0, np.nan, 0.5]), 16_000, subtype="FLOAT")
    elif kind == "absent":
        path.unlink()


@pytest.mark.parametrize("kind", ["text", "truncated", "empty", "no samples", "nan", "absent"])
def test_a_damaged_wav_is_named_in_one_line_with_the_way_out(write_tone, kind):
    path = write_tone("bad.wav")
    damage(path, kind)
    with pytest.raises(DataError) as caught:
        decode(path)
    assert str(path) in str(caught.value)
    assert "remove it from the corpus" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["text", "empty", "absent"])
@pytest.mark.parametrize("name", ["bad.flac", "bad.ogg"])
def test_a_damaged_recording_of_another_format_is_named(write_tone, name, kind):
    path = write_tone(name)
    damage(path, kind)
    with pytest.raises(DataError, match=r"cannot be decoded .*remove it from the corpus"):
        decode(path)


@given(hnp.arrays(np.int16, st.integers(0, 50)))
def test_sixteen_bits_survive_the_way_to_float_and_back(samples):
    np.testing.assert_array_equal(to_int16(samples.astype(np.float32) / 32768), samples)


def test_packed_audio_is_what_was_recorded(tmp_path, write_tone):
    paths = [write_tone(f"{index}.wav", seconds=0.1 + index / 10) for index in range(4)]
    packed = PackedAudio.of(read_corpus(tmp_path), progress=False)
    for path in paths:
        expected = decode(path)
        assert packed.num_samples(path.name) == len(expected)
        np.testing.assert_array_equal(packed.waveform(path.name), expected)
        np.testing.assert_array_equal(packed.waveform(path.name, 100, 50), expected[100:150])
    assert len(packed.waveform("0.wav", 1500, 1000)) == 100
    assert isinstance(packed.samples, np.memmap)
    assert packed.samples.dtype == np.int16


def test_a_window_of_a_recording_is_its_part(tmp_path, write_tone):
    write_tone("yes/ann_nohash_0.wav")
    noise = decode(write_tone("_background_noise_/hum.wav", seconds=3.5))
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / name).touch()
    packed = PackedAudio.of(read_corpus(tmp_path), progress=False)
    np.testing.assert_array_equal(
        packed.waveform("_background_noise_/hum.wav#0002"), noise[32_000:48_000]
    )


def test_a_manifests_rounded_duration_does_not_cut_a_recording(tmp_path, write_tone):
    write_tone("a.wav", seconds=0.12345)
    (tmp_path / "manifest.csv").write_text("path,duration\na.wav,0.1\n")
    packed = PackedAudio.of(read_corpus(tmp_path), progress=False)
    assert packed.num_samples("a.wav") == round(0.12345 * 16_000)


def test_decoding_happens_once_until_a_recording_changes(tmp_path, write_tone, own_cache):
    path = write_tone("a.wav")
    cuts = read_corpus(tmp_path)
    PackedAudio.of(cuts, progress=False)
    (made,) = own_cache.iterdir()
    written = (made / "samples.i16").stat().st_mtime_ns
    PackedAudio.of(cuts, progress=False)
    assert (made / "samples.i16").stat().st_mtime_ns == written
    write_tone("a.wav", hz=880.0, seconds=0.6)
    packed = PackedAudio.of(cuts, progress=False)
    assert len(list(own_cache.iterdir())) == 2
    np.testing.assert_array_equal(packed.waveform("a.wav"), decode(path))


def test_a_cache_that_is_not_whole_is_made_again(tmp_path, write_tone, own_cache):
    path = write_tone("a.wav")
    cuts = read_corpus(tmp_path)
    PackedAudio.of(cuts, progress=False)
    (made,) = own_cache.iterdir()
    with (made / "samples.i16").open("r+b") as samples:
        samples.truncate(100)
    packed = PackedAudio.of(cuts, progress=False)
    np.testing.assert_array_equal(packed.waveform("a.wav"), decode(path))


def test_one_bad_recording_stops_packing_and_leaves_nothing_behind(tmp_path, write_tone, own_cache):
    for index in range(3):
        write_tone(f"{index}.wav")
    cuts = read_corpus(tmp_path)
    damage(tmp_path / "1.wav", "truncated")
    with pytest.raises(DataError, match=r"1\.wav"):
        PackedAudio.of(cuts, progress=False)
    assert list(own_cache.iterdir()) == []


def test_a_full_disk_names_the_folder_and_the_way_out(tmp_path, write_tone, own_cache):
    write_tone("a.wav", seconds=2.0)
    cuts = read_corpus(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(DataError, match="set OTOLITE_CACHE to a folder on another disk"):
            PackedAudio.of(cuts, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(own_cache.iterdir()) == []


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("OTOLITE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("OTOLITE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "otolite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "otolite"


def test_a_wav_that_promises_more_than_it_holds_is_truncated(write_tone):
    path = write_tone("a.wav")
    data = bytearray(path.read_bytes())
    size_at = data.index(b"data") + 4
    (size,) = struct.unpack_from("<I", data, size_at)
    struct.pack_into("<I", data, size_at, size + 2)
    path.write_bytes(data)
    with pytest.raises(DataError, match="is truncated"):
        decode(path)


def test_a_recording_shorter_than_stated_is_refused(tmp_path, write_tone):
    write_tone("a.ogg", seconds=1.0)
    (tmp_path / "manifest.csv").write_text("path,duration\na.ogg,1.500\n")
    with pytest.raises(DataError, match=r"a\.ogg holds 1\.000 s where .* states 1\.500 s"):
        PackedAudio.of(read_corpus(tmp_path), progress=False)


@pytest.mark.real_audio
def test_real_opus_clips_last_as_long_as_their_manifest_says(real_data):
    cuts = list(read_corpus(real_data / "speech_commands"))[::400]
    for cut in cuts:
        waveform = decode(real_data / "speech_commands" / cut.id)
        assert len(waveform) == pytest.approx(cut.duration * 16_000, abs=16)
        assert np.abs(waveform).max() > 0
