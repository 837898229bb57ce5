"""Augmentation against its closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.augment import (
    change_speed,
    fit_length,
    gain,
    in_room,
    mix_noise,
    shift,
    stretch_of,
)


def noise_of(num_samples, seed):
    return np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)


@given(size=st.integers(0, 50), reach=st.integers(0, 80), seed=st.integers(0, 99))
def test_a_shift_moves_every_sample_by_the_same_offset_and_fills_with_zeros(size, reach, seed):
    waveform = np.arange(1, size + 1, dtype=np.float32)
    moved = shift(waveform, reach, np.random.default_rng(seed))
    assert moved.shape == waveform.shape
    places = np.flatnonzero(moved)
    offsets = places - (moved[places] - 1)
    assert len(set(offsets.tolist())) <= 1
    assert np.abs(offsets).max(initial=0) <= reach
    if len(offsets):
        assert len(places) == size - abs(int(offsets[0]))


def test_shifts_reach_both_ends():
    rng = np.random.default_rng(0)
    pulse = np.zeros(9, dtype=np.float32)
    pulse[4] = 1
    seen = {int(np.argmax(shift(pulse, 3, rng))) for _ in range(200)}
    assert seen == {1, 2, 3, 4, 5, 6, 7}


@given(snr_db=st.floats(-20, 40), repeat=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_mixed_ratio_is_what_was_asked(snr_db, repeat, seed):
    waveform = noise_of(300, seed)
    noise = noise_of(300 // repeat, seed + 1000)
    added = mix_noise(waveform, noise, snr_db).astype(np.float64) - waveform
    ratio_db = 10 * np.log10(np.mean(waveform.astype(np.float64) ** 2) / np.mean(added**2))
    # float32 sums: 1e-7 of the clip is 0.01 % of noise 40 dB below it.
    assert ratio_db == pytest.approx(snr_db, abs=0.01)


def test_no_ratio_exists_with_silence_and_the_clip_stays():
    silence, sound = np.zeros(10, np.float32), noise_of(10, 0)
    np.testing.assert_array_equal(mix_noise(silence, sound, 10.0), silence)
    np.testing.assert_array_equal(mix_noise(sound, silence, 10.0), sound)
    with pytest.raises(ValueError, match="one sample or more"):
        mix_noise(sound, sound[:0], 10.0)


@given(gain_db=st.floats(-60, 20))
def test_a_gain_multiplies_the_amplitude(gain_db):
    waveform = noise_of(20, 0)
    expected = waveform.astype(np.float64) * 10 ** (gain_db / 20)
    np.testing.assert_allclose(gain(waveform, gain_db), expected, rtol=1e-6)


@given(size=st.integers(0, 60), num_samples=st.integers(0, 60))
def test_fitting_keeps_the_middle(size, num_samples):
    waveform = np.arange(1, size + 1, dtype=np.float32)
    fitted = fit_length(waveform, num_samples)
    assert len(fitted) == num_samples
    kept = fitted[fitted > 0]
    assert len(kept) == min(size, num_samples)
    if size >= num_samples:
        first = (size - num_samples) // 2
        np.testing.assert_array_equal(fitted, waveform[first : first + num_samples])
    else:
        np.testing.assert_array_equal(kept, waveform)
        if size:
            left = int(np.argmax(fitted > 0))
            assert 0 <= (num_samples - size - left) - left <= 1


def test_negative_sizes_are_refused():
    waveform = noise_of(4, 0)
    with pytest.raises(ValueError, match="0 or more"):
        fit_length(waveform, -1)
    with pytest.raises(ValueError, match="0 or more"):
        shift(waveform, -1, np.random.default_rng(0))


@given(speed=st.floats(0.8, 1.25))
def test_a_clip_played_faster_is_shorter_and_as_much_higher(speed):
    time = np.arange(8_000) / 16_000
    clip = np.sin(2 * np.pi * 1_000 * time).astype(np.float32)
    played = change_speed(clip, speed)
    assert len(played) == pytest.approx(8_000 / speed, abs=1)
    spectrum = np.abs(np.fft.rfft(played * np.hanning(len(played))))
    found_hz = int(spectrum.argmax()) * 16_000 / len(played)
    assert found_hz == pytest.approx(1_000 * speed, abs=2.5)  # a bin
    assert change_speed(clip, 1.0) is not clip


@given(
    size=st.integers(1, 60),
    tail=st.integers(0, 40),
    lead=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_a_room_is_the_convolution_from_the_direct_sound_on_as_loud_as_before(
    size, tail, lead, seed
):
    rng = np.random.default_rng(seed)
    clip = rng.normal(0, 0.1, size).astype(np.float32)
    response = np.concatenate(
        [rng.uniform(-0.1, 0.1, lead), [1.0], rng.uniform(-0.5, 0.5, tail)]
    ).astype(np.float32)
    plain = np.convolve(clip.astype(np.float64), response)[lead : lead + size]
    plain *= np.sqrt(np.mean(clip.astype(np.float64) ** 2) / np.mean(plain**2))
    np.testing.assert_allclose(in_room(clip, response), plain, atol=1e-6)


def test_a_room_without_an_echo_and_a_clip_without_a_sound_stay():
    clip = noise_of(30, 1)
    np.testing.assert_allclose(in_room(clip, np.array([0.0, 0.5], np.float32)), clip, atol=1e-6)
    silence = np.zeros(30, np.float32)
    np.testing.assert_array_equal(in_room(silence, noise_of(9, 0)), silence)
    with pytest.raises(ValueError, match="a sample that is not 0"):
        in_room(clip, silence)
    with pytest.raises(ValueError, match="speed must be positive"):
        change_speed(clip, 0.0)


@given(size=st.integers(1, 30), num_samples=st.integers(0, 80), seed=st.integers(0, 99))
def test_a_stretch_of_noise_goes_on_where_it_began(size, num_samples, seed):
    noise = np.arange(size, dtype=np.float32)
    stretch = stretch_of(noise, num_samples, np.random.default_rng(seed))
    assert len(stretch) == num_samples
    assert ((np.diff(stretch) == 1) | (np.diff(stretch) == 1 - size)).all()
    with pytest.raises(ValueError, match="one sample or more"):
        stretch_of(noise[:0], 3, np.random.default_rng(0))
