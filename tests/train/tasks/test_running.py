"""Scenes: where their words are, what is said at each frame, and how loud the rest is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.audio import PackedAudio
from train.data.augment import mean_power
from train.data.rooms import Surroundings
from train.data.running import Speech
from train.tasks.augmenting import AugmentConfig
from train.tasks.running import (
    IGNORED,
    NOTHING,
    RunningConfig,
    Scene,
    Stage,
    frame_labels,
    strongest,
)

STILL = AugmentConfig(noise_prob=0.0, room_prob=0.0, max_gain_db=0.0)
NOWHERE = Surroundings()
SIZE = 32_000
WORD = np.sin(np.arange(8_000) * 0.2).astype(np.float32) * 0.1
CLIP = np.pad(WORD, (1_000, 600))
SPAN = (1_000, 9_000)


def rng(seed=0):
    return np.random.default_rng(seed)


def speech_of(size=64_000):
    samples = (rng(9).normal(0, 0.1, size) * 32_768).astype(np.int16)
    return Speech([(PackedAudio(samples, {"a": (0, size)}), ("a",))])


def stage(augment=STILL, around=NOWHERE, **config):
    quiet = {"speech_prob": 0.0, "babble_prob": 0.0}
    return Stage(RunningConfig(**(quiet | config)), augment, speech_of(), around)


@given(seed=st.integers(0, 10_000), speech=st.sampled_from([0.0, 1.0]))
def test_a_word_is_where_the_scene_says_and_wholly_in_it(seed, speech):
    scene = stage(keyword_prob=1.0, part_prob=0.0, speech_prob=speech).scene(
        CLIP, SPAN, SIZE, rng(seed)
    )
    start, end = scene.word
    assert 0 <= start < end <= SIZE
    assert end - start == 8_000
    assert len(scene.waveform) == SIZE
    assert scene.waveform.dtype == np.float32
    heard = scene.waveform[start + 500 : end - 500]
    assert np.corrcoef(heard, WORD[500:-500])[0, 1] > 0.98


def test_words_end_anywhere_in_a_scene():
    ends = [
        stage(keyword_prob=1.0, part_prob=0.0).scene(CLIP, SPAN, SIZE, rng(seed)).word[1]
        for seed in range(200)
    ]
    assert min(ends) < 9_500
    assert max(ends) > 30_500


def test_a_part_of_a_word_is_no_word():
    lengths = []
    for seed in range(40):
        scene = stage(keyword_prob=0.0, part_prob=1.0).scene(CLIP, SPAN, SIZE, rng(seed))
        assert scene.word is None
        lengths.append(np.count_nonzero(np.abs(scene.waveform) > 0.02) / 8_000)
    assert min(lengths) > 0.1
    assert max(lengths) < 0.7


def test_scenes_without_words_hold_speech_or_nothing_loud():
    quiet = stage(keyword_prob=0.0, part_prob=0.0).scene(CLIP, SPAN, SIZE, rng())
    loud = stage(keyword_prob=0.0, part_prob=0.0, speech_prob=1.0).scene(CLIP, SPAN, SIZE, rng())
    assert quiet.word is None
    assert loud.word is None
    assert mean_power(quiet.waveform) < 1e-4 < mean_power(loud.waveform)


@pytest.mark.parametrize("kind", ["noise", "babble"])
def test_noise_is_measured_against_the_word_alone(kind):
    noise = rng(3).normal(0, 0.3, 5_000).astype(np.float32)
    loud = AugmentConfig(
        noise_prob=float(kind == "noise"),
        room_prob=0.0,
        lowest_snr_db=6.0,
        highest_snr_db=6.0,
        max_gain_db=0.0,
    )
    made = stage(
        loud,
        Surroundings((noise,)),
        keyword_prob=1.0,
        part_prob=0.0,
        babble_prob=float(kind == "babble"),
    )
    ratios = []
    for seed in range(30):
        scene = made.scene(CLIP, SPAN, SIZE, rng(seed))
        start, end = scene.word
        outside = np.concatenate([scene.waveform[:start], scene.waveform[end:]])
        inside = mean_power(scene.waveform[start:end])
        ratios.append(10 * np.log10(inside / mean_power(outside)))
    # Of signal and noise to noise: 10 log10(10^0.6 + 1) is 7. Babble pauses, and edges count.
    assert np.median(ratios) == pytest.approx(7.0, abs=1.0)


def test_a_scene_belongs_to_its_generator():
    made = stage(speech_prob=0.5, babble_prob=0.5)
    first, again, other = (made.scene(CLIP, SPAN, SIZE, rng(seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.waveform, again.waveform)
    assert first.word == again.word
    assert not np.array_equal(first.waveform, other.waveform)


@given(
    start=st.integers(0, 20_000),
    length=st.integers(1_000, 12_000),
    early_ms=st.integers(0, 100),
    late_ms=st.integers(1, 400),
)
def test_frames_say_nothing_then_are_left_out_then_tell_the_word(start, length, early_ms, late_ms):
    end, hop, window = start + length, 640, 9_600
    config = RunningConfig(early_ms=early_ms, late_ms=late_ms)
    scene = Scene(np.zeros(SIZE, np.float32), (start, end))
    wanted = frame_labels(scene, 3, config, hop_samples=hop, window_samples=window)
    assert len(wanted) == SIZE // hop
    for number, label in enumerate(wanted):
        at = (number + 1) * hop
        if end - 16 * early_ms <= at <= end + 16 * late_ms:
            assert label == 3
        elif at <= start or at >= end + max(window, 16 * late_ms + 1):
            assert label == NOTHING
        elif end < at:
            assert label == IGNORED
        else:
            assert label == (IGNORED if at > start + 0.4 * length else NOTHING)


def test_a_scene_without_a_word_says_nothing_at_every_frame():
    scene = Scene(np.zeros(SIZE, np.float32), None)
    wanted = frame_labels(scene, 3, RunningConfig(), hop_samples=640, window_samples=9_600)
    assert not wanted.any()


def test_a_recording_is_what_was_loudest_in_it_before_its_end():
    posteriors = np.zeros((2, 4, 3), dtype=np.float32)
    posteriors[0, 1, 1], posteriors[0, 3, 2] = 0.75, 0.9
    heard = strongest(posteriors, [3 * 640, 0], 640)
    np.testing.assert_array_equal(heard, np.float32([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keyword_prob": 1.5}, "must lie in"),
        ({"keyword_prob": 0.8, "part_prob": 0.3}, "must not exceed 1 together"),
        ({"early_ms": -1}, "0 or more"),
        ({"early_ms": 0, "late_ms": 0}, "not both 0"),
        ({"keyword_weight": 0.0}, "positive"),
        ({"scene_seconds": 0.0}, "positive"),
        ({"focus": -1.0}, "focus 0 or more"),
    ],
)
def test_settings_that_make_no_scene_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        RunningConfig(**changes)
