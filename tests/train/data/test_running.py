"""Words cut out of clips, and stretches of speech without them."""

import numpy as np
import pytest
import soundfile

from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.data.running import Speech, Words, read_speech, without_keywords
from train.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Four recordings of 1 s: a loud half second begins at 0.4 s, of another pitch in each."""
    rng = np.random.default_rng(0)
    rows = ["path,text,split"]
    for number, text in enumerate(["hey otter", "other", "a hey-otter b", "later"]):
        clip = rng.normal(0, 1e-3, 16_000)
        clip[6_400:14_400] += 0.1 * np.sin(np.arange(8_000) * 0.05 * (1 + number))
        soundfile.write(tmp_path / f"{number}.wav", clip, 16_000)
        rows.append(f"{number}.wav,{text},{'test' if text == 'later' else 'train'}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_words_keep_a_fifth_of_a_second_of_their_clips(folder):
    cuts = read_corpus(folder)
    packed = PackedAudio.of(cuts, progress=False)
    words = Words.of(cuts, packed)
    for cut in cuts:
        whole, piece = packed.waveform(cut.id), words.packed.waveform(cut.id)
        start, end = words.spans[cut.id]
        assert abs(start - 3_200) <= 160
        assert abs(end - start - 8_000) <= 320
        # The margin after the word ends with the clip.
        np.testing.assert_array_equal(piece, whole[-len(piece) :])


def test_what_holds_a_keyword_is_no_speech_without_it(folder):
    cuts = read_corpus(folder)
    assert list(without_keywords(cuts, ["hey_otter"]).ids) == ["1.wav", "3.wav"]
    ((packed, ids),) = read_speech([folder], ["Hey Otter"], min_seconds=0.1)
    assert ids == ("1.wav",)  # the test partition is not for training
    assert packed.num_samples("1.wav") == 16_000
    with pytest.raises(DataError, match=r"no train recording of 2 s or more without a keyword"):
        read_speech([folder], ["hey otter"], min_seconds=2.0)


def test_a_stretch_is_as_long_as_asked_and_belongs_to_its_generator(folder):
    cuts = read_corpus(folder)
    packed = PackedAudio.of(cuts, progress=False)
    speech = Speech([(packed, ("1.wav",)), (packed, ("3.wav",))])
    assert speech.hours == pytest.approx(2 / 3600)
    for size in (1, 4_000, 100_000):
        taken = [speech.stretch(size, np.random.default_rng(seed)) for seed in (1, 1, 2)]
        assert all(len(stretch) == size for stretch in taken)
        np.testing.assert_array_equal(taken[0], taken[1])
    assert not np.array_equal(taken[0], taken[2])


def test_a_long_recording_is_heard_more_often_than_a_short_one():
    samples = np.concatenate([np.full(900, 8_000), np.full(100, -8_000)]).astype(np.int16)
    packed = PackedAudio(samples, {"long": (0, 900), "short": (900, 1_000)})
    speech = Speech([(packed, ("long", "short"))])
    longs = sum(speech.stretch(50, np.random.default_rng(seed)).sum() > 0 for seed in range(300))
    assert 240 <= longs <= 295


def test_nothing_to_hear_lasts_no_hours():
    assert Speech([]).hours == 0.0
