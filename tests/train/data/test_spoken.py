"""Where a word is in its clip, and which labels hold which words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from train.data.cuts import recording_cut
from train.data.spoken import energy_span, holds, spoken_text, word_span


@given(
    seed=st.integers(0, 999),
    start=st.integers(20, 60),
    length=st.integers(10, 30),
    snr_db=st.floats(25, 60),
)
def test_a_loud_stretch_is_found_to_a_frame(seed, start, length, snr_db):
    rng = np.random.default_rng(seed)
    clip = rng.normal(0, 0.1 * 10 ** (-snr_db / 20), 16_000)
    clip[start * 160 : (start + length) * 160] += rng.normal(0, 0.1, length * 160)
    click = 5 * 160
    clip[click : click + 160] += 0.5  # one frame of it is no speech
    begin, end = energy_span(clip.astype(np.float32))
    assert abs(begin - start * 160) <= 160
    assert abs(end - (start + length) * 160) <= 160


def test_the_word_is_what_holds_most_energy_and_keeps_its_own_pauses():
    rng = np.random.default_rng(1)
    clip = rng.normal(0, 1e-4, 32_000)
    for start, end in ((8_000, 10_400), (13_600, 16_000)):  # 0.2 s between them
        clip[start:end] += rng.normal(0, 0.1, end - start)
    clip[24_000:25_600] += rng.normal(0, 0.12, 1_600)  # shorter, if louder, and half a second on
    assert energy_span(clip.astype(np.float32)) == (8_000, 16_000)


def test_digital_silence_is_no_noise_floor():
    rng = np.random.default_rng(2)
    clip = rng.normal(0, 1e-3, 32_000)
    clip[12_800:20_800] += rng.normal(0, 0.03, 8_000)
    padded = np.concatenate([np.zeros(16_000), clip]).astype(np.float32)
    start, end = energy_span(padded)
    assert (start - 16_000, end - 16_000) == energy_span(clip.astype(np.float32))
    assert (start, end) == (28_800, 36_800)


@pytest.mark.parametrize("num_samples", [0, 100, 479, 16_000])
def test_where_nothing_stands_out_the_word_is_the_whole_clip(num_samples):
    even = np.random.default_rng(0).normal(0, 0.1, num_samples).astype(np.float32)
    assert energy_span(even) == (0, num_samples)
    assert energy_span(np.zeros(num_samples, dtype=np.float32)) == (0, num_samples)


def test_alignments_are_asked_before_energy(tmp_path):
    cut = recording_cut("a", tmp_path / "a.wav", duration_s=1.0, partition="test")
    clip = np.zeros(16_000, dtype=np.float32)
    assert word_span(cut, clip) == (0, 16_000, False)
    phones = [
        AlignmentItem("SIL", 0.0, 0.25),
        AlignmentItem("Y", 0.25, 0.25),
        AlignmentItem("S", 0.5, 0.125),
        AlignmentItem("sil", 0.625, 0.375),
    ]
    cut.supervisions = [cut.supervisions[0].with_alignment("phone", phones)]
    assert word_span(cut, clip) == (4000, 10_000, True)
    word = [AlignmentItem("yes", 0.25, 0.5)]
    cut.supervisions = [cut.supervisions[0].with_alignment("word", word)]
    assert word_span(cut, clip) == (4000, 12_000, True)


@pytest.mark.parametrize(
    "text, word, there",
    [
        ("Turn it ON, please.", "on", True),
        ("Only one", "on", False),
        ("say hey-otter now", "hey_otter", True),
        ("hey you otter", "hey otter", False),
        ("", "on", False),
    ],
)
def test_words_are_found_whole_and_in_order(text, word, there):
    assert holds(spoken_text(text), spoken_text(word)) == there
