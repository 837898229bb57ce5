"""Synthetic speech: the same bytes from the same seed, voices of one partition only."""

import sys

import numpy as np
import pytest
import soundfile

from train.data.acoustics import coloured_noise, in_a_room
from train.data.audio import PackedAudio, decode
from train.data.corpus import read_corpus
from train.data.recordings import join_recordings, make_test_recording, read_truth
from train.data.synthetic import (
    FILLERS,
    KEYWORDS,
    VARIANTS,
    make_keyword_corpus,
    say,
    voices,
)
from train.data.voices import ESPEAK_RATE, Speaker, speak
from train.errors import DataError

SMALL = {"clips_per_keyword": 10, "clips_unknown": 20, "clips_silence": 10}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "corpus"
    make_keyword_corpus(out, **SMALL)
    return out


def test_a_speaker_says_the_same_whatever_was_said_before_by_another():
    def said():
        speaker = Speaker(seed=3)
        return [speaker.speak("yes", voice) for voice in ("en-us+f3", "en-gb-scotland+Andy", "en")]

    first = said()
    Speaker(seed=9).speak("something else", "en-us+m7")
    for before, after in zip(first, said(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_speech_lasts_as_long_as_a_word_and_longer_when_slow():
    quick, rate = speak("seven", "en-us+f3", rate=240)
    slow, _ = speak("seven", "en-us+f3", rate=100)
    assert rate == ESPEAK_RATE
    assert 0.2 < len(quick) / rate < len(slow) / rate < 1.5
    assert 0.05 < np.abs(quick).max() <= 1.0


@pytest.mark.parametrize("voice", ["xx", "en-us+nobody"])
def test_an_unknown_voice_or_variant_is_refused(voice):
    with pytest.raises(DataError, match="has no voice"):
        speak("yes", voice)


def test_text_without_sound_is_refused():
    with pytest.raises(DataError, match="says nothing"):
        speak(" ", "en-us")


def test_without_espeak_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(DataError, match=r'pip install "otolite\[synthesis\]"'):
        Speaker()


def test_every_voice_exists_and_says_every_word_within_a_second():
    speaker = Speaker()
    rng = np.random.default_rng(0)
    for index, voice in enumerate(voices("train") + voices("valid") + voices("test")):
        words = [*KEYWORDS, *FILLERS]
        assert 0.1 < len(say(speaker, words[index % len(words)], voice, rng)) / 16_000 <= 1.0


def test_no_timbre_is_of_two_partitions():
    names = [name for partition in VARIANTS.values() for name in partition]
    assert len(names) == len(set(names))


def test_the_corpus_is_read_like_any_other(corpus):
    cuts = read_corpus(corpus)
    assert len(cuts) == 4 * 10 + 20 + 10
    labels = {cut.supervisions[0].text for cut in cuts}
    assert labels == {*KEYWORDS, "_unknown_", "_silence_"}
    for partition in ("train", "valid", "test"):
        of_partition = [cut for cut in cuts if cut.partition == partition]
        assert {cut.supervisions[0].text for cut in of_partition} == labels
        spoken = {cut.supervisions[0].speaker for cut in of_partition} - {None}
        assert spoken <= set(voices(partition))
    header = soundfile.info(corpus / next(iter(cuts)).id)
    assert (header.samplerate, header.frames, header.subtype) == (16_000, 16_000, "PCM_16")


def test_clips_differ_and_words_are_louder_than_silence(corpus):
    cuts = list(read_corpus(corpus))
    waveforms = [decode(corpus / cut.id) for cut in cuts]
    assert len({waveform.tobytes() for waveform in waveforms}) == len(cuts)
    for cut, waveform in zip(cuts, waveforms, strict=True):
        peak = np.abs(waveform).max()
        silent = cut.supervisions[0].text == "_silence_"
        assert (peak < 0.5) if silent else (0.05 < peak <= 1.0)


def test_the_same_seed_gives_the_same_bytes_and_another_others(corpus, tmp_path):
    make_keyword_corpus(tmp_path / "same", **SMALL)
    make_keyword_corpus(tmp_path / "other", **SMALL, seed=1)
    files = sorted(path.relative_to(corpus) for path in corpus.rglob("*.*"))
    same = [
        (corpus / name).read_bytes() == (tmp_path / "same" / name).read_bytes() for name in files
    ]
    other = [
        (corpus / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in files
    ]
    assert all(same)
    assert not any(other)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"keywords": ["yes", "yes"]}, "yes named twice"),
        ({"keywords": ["water"]}, "water named twice"),
        ({"keywords": []}, "missing"),
        ({"clips_silence": 3}, "10 clips or more"),
    ],
)
def test_a_corpus_that_cannot_be_split_is_refused_before_it_is_made(tmp_path, arguments, said):
    with pytest.raises(DataError, match=said):
        make_keyword_corpus(tmp_path / "corpus", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_that_fails_leaves_nothing_half_written(tmp_path):
    with pytest.raises(DataError, match="says nothing"):
        make_keyword_corpus(tmp_path / "corpus", keywords=["yes", " "], **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written to"):
        make_keyword_corpus(tmp_path / "file" / "corpus", **SMALL)


def test_a_recording_has_its_words_where_its_truth_says(tmp_path):
    truth = make_test_recording(tmp_path / "test.wav")
    assert truth == read_truth(tmp_path / "test.wav")
    labels = [word.label for word in truth]
    assert sorted(labels) == sorted([*KEYWORDS * 2, *["_unknown_"] * 5])
    waveform = decode(tmp_path / "test.wav")
    assert 14 < len(waveform) / 16_000 < 24
    spoken = np.zeros(len(waveform), dtype=bool)
    for word in truth:
        spoken[round(word.start_s * 16_000) : round(word.end_s * 16_000)] = True
        assert np.abs(waveform[spoken]).max() > 0.3
    assert np.abs(waveform[~spoken]).max() < 0.02
    starts = [word.start_s for word in truth]
    assert starts == sorted(starts)


def test_a_recording_is_a_function_of_its_seed(tmp_path):
    for name, seed in (("a.wav", 1), ("b.wav", 1), ("c.wav", 2)):
        make_test_recording(tmp_path / name, words=["yes"], fillers=["water"], seed=seed)
    first, same, other = ((tmp_path / name).read_bytes() for name in ("a.wav", "b.wav", "c.wav"))
    assert first == same != other


def test_joined_clips_are_those_of_their_label(corpus, tmp_path):
    cuts = read_corpus(corpus)
    packed = PackedAudio.of(cuts, progress=False)
    labels = ["yes", "stop", "yes", "_unknown_"]
    truth = join_recordings(packed, cuts, tmp_path / "joined.wav", labels=labels, seed=4)
    assert truth == read_truth(tmp_path / "joined.wav")
    assert sorted(word.label for word in truth) == sorted(labels)
    joined = decode(tmp_path / "joined.wav")
    chosen = set()
    for word in truth:
        part = joined[round(word.start_s * 16_000) : round(word.end_s * 16_000)]
        alike = {
            cut.id: float(np.corrcoef(part, packed.waveform(cut.id))[0, 1])
            for cut in cuts
            if cut.supervisions[0].text == word.label
        }
        best = max(alike, key=alike.__getitem__)
        assert alike[best] > 0.9  # faded edges and the noise beneath
        chosen.add(best)
    assert len(chosen) == len(labels)


def test_more_clips_than_there_are_is_refused(corpus, tmp_path):
    cuts = read_corpus(corpus)
    packed = PackedAudio.of(cuts, progress=False)
    with pytest.raises(DataError, match="1 clips of 'maybe' are wanted and the set has 0"):
        join_recordings(packed, cuts, tmp_path / "joined.wav", labels=["maybe"])
    assert list(tmp_path.iterdir()) == []


def test_a_recording_without_truth_says_so(tmp_path):
    with pytest.raises(DataError, match="holds no truth"):
        read_truth(tmp_path / "absent.wav")


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_the_colour_of_noise_is_its_slope(slope):
    noise = coloured_noise(1 << 16, slope, np.random.default_rng(0))
    assert np.mean(noise**2) == pytest.approx(1.0, rel=1e-4)
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(1 << 16, 1 / 16_000)
    octaves = [power[(hertz >= low) & (hertz < 2 * low)].mean() for low in (500, 1000, 2000)]
    ratios = np.log2(np.array(octaves[:-1]) / octaves[1:])
    np.testing.assert_allclose(ratios, slope, atol=0.15)  # some 4,000 bins an octave


def test_a_dry_flat_room_changes_nothing_and_an_echo_has_the_energy_asked():
    pulse = np.zeros(8000, dtype=np.float32)
    pulse[0] = 1.0
    rng = np.random.default_rng(0)
    dry = in_a_room(pulse, decay_s=0.1, tail_db=-200.0, tilt=0.0, rng=rng)
    np.testing.assert_allclose(dry, pulse, atol=1e-6)
    wet = in_a_room(pulse, decay_s=0.1, tail_db=-6.0, tilt=0.0, rng=rng)
    assert 10 * np.log10(np.sum(wet[1:] ** 2)) == pytest.approx(-6.0, abs=0.01)
