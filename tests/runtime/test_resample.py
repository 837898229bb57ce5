"""The resampler against the sine that it should give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtime.resample
from runtime.resample import PASSBAND, Resampler, resample

RATES = [
    (8000, 16000),
    (11025, 16000),
    (22050, 16000),
    (44100, 16000),
    (48000, 16000),
    (192_000, 16000),
    (4000, 16000),
    (16000, 44100),
    (15999, 16000),
]


def _sine(frequency_hz: float, rate_hz: int, num_samples: int) -> np.ndarray:
    times_s = np.arange(num_samples) / rate_hz
    return np.asarray(np.sin(2 * np.pi * frequency_hz * times_s + 0.3), dtype=np.float64)


@pytest.mark.parametrize("from_hz, to_hz", RATES)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_sine_in_the_pass_band_keeps_amplitude_and_time(
    from_hz: int, to_hz: int, share: float
) -> None:
    frequency_hz = share * PASSBAND * min(from_hz, to_hz) / 2
    output = resample(_sine(frequency_hz, from_hz, from_hz // 4), from_hz, to_hz)
    expected = _sine(frequency_hz, to_hz, len(output))
    assert len(output) == -(-(from_hz // 4) * to_hz // from_hz)
    margin = len(output) // 5  # the silence around the recording reaches in here
    np.testing.assert_allclose(output[margin:-margin], expected[margin:-margin], atol=1e-3)


@pytest.mark.parametrize("from_hz, to_hz", [(44100, 16000), (48000, 16000), (192_000, 16000)])
@pytest.mark.parametrize("share", [1.0, 1.3, 1.9])
def test_what_would_alias_is_60_db_down(from_hz: int, to_hz: int, share: float) -> None:
    frequency_hz = min(share * to_hz / 2, 0.49 * from_hz)
    output = resample(_sine(frequency_hz, from_hz, from_hz // 4), from_hz, to_hz)
    margin = len(output) // 5
    assert np.abs(output[margin:-margin]).max() < 1e-3


def test_an_image_above_the_old_nyquist_frequency_is_60_db_down() -> None:
    output = resample(_sine(3500, 8000, 4000), 8000, 16000)[1000:7000]
    spectrum = np.abs(np.fft.rfft(output * np.hanning(len(output))))
    frequencies_hz = np.fft.rfftfreq(len(output), 1 / 16000)
    assert spectrum[frequencies_hz > 4200].max() < 1e-3 * spectrum.max()


@given(num_samples=st.integers(0, 300), rate_hz=st.integers(1, 200_000))
def test_the_same_rate_changes_nothing(num_samples: int, rate_hz: int) -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, num_samples).astype(np.float32)
    output = resample(waveform, rate_hz, rate_hz)
    np.testing.assert_array_equal(output, waveform)
    assert output is not waveform


@settings(deadline=None, max_examples=25)
@given(num_samples=st.integers(0, 50), from_hz=st.integers(4000, 48000))
def test_any_length_and_rate_gives_the_rounded_up_length(num_samples: int, from_hz: int) -> None:
    output = resample(np.ones(num_samples, dtype=np.float32), from_hz, 16000)
    assert output.shape == (-(-num_samples * 16000 // from_hz),)
    assert np.isfinite(output).all()


def test_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    whole = resample(waveform, 44100, 16000)
    monkeypatch.setattr(runtime.resample, "_BLOCK_LIMIT", 10_000)
    # float32 sums may be ordered differently
    np.testing.assert_allclose(resample(waveform, 44100, 16000), whole, atol=1e-6)
    monkeypatch.setattr(runtime.resample, "_TABLE_LIMIT", 0)
    np.testing.assert_allclose(resample(waveform, 44100, 16000), whole, atol=1e-6)


@pytest.mark.parametrize("from_hz, to_hz", [(0, 16000), (-1, 1), (16000, 10), (1, 16000)])
def test_rates_out_of_reach_are_refused(from_hz: int, to_hz: int) -> None:
    with pytest.raises(ValueError, match="factor"):
        resample(np.zeros(4), from_hz, to_hz)


def test_more_than_one_channel_is_refused() -> None:
    with pytest.raises(ValueError, match="samples"):
        resample(np.zeros((4, 2)), 8000, 16000)


@settings(deadline=None, max_examples=60)
@given(
    from_hz=st.sampled_from([4000, 8000, 11_025, 22_050, 24_000, 44_100, 48_000, 16_000, 192_000]),
    to_hz=st.sampled_from([16_000, 8000]),
    num_samples=st.integers(0, 5000),
    cuts=st.lists(st.integers(0, 5000), max_size=8),
    seed=st.integers(0, 99),
)
def test_any_blocks_give_what_the_whole_waveform_gives(
    from_hz: int, to_hz: int, num_samples: int, cuts: list[int], seed: int
) -> None:
    waveform = np.random.default_rng(seed).uniform(-1, 1, num_samples).astype(np.float32)
    resampler = Resampler(from_hz, to_hz)
    blocks = np.split(waveform, sorted(cut for cut in cuts if cut <= num_samples))
    for _ in range(2):  # flush leaves it as new
        output = np.concatenate([*(resampler.push(block) for block in blocks), resampler.flush()])
        # The same sums in the same order: not a bit differs, and neither do events.
        np.testing.assert_array_equal(output, resample(waveform, from_hz, to_hz))


def test_an_output_waits_for_3_ms_of_input_and_no_more() -> None:
    resampler = Resampler(48_000, 16_000)
    given = 0
    for received in range(480, 48_000, 480):
        given += len(resampler.push(np.zeros(480, dtype=np.float32)))
        assert 0 <= received / 3 - given <= 51


@pytest.mark.parametrize("from_hz", [8000, 44_100, 48_000, 15_999])
def test_a_long_stream_is_kept_nowhere(from_hz: int) -> None:
    """Whatever more a fast clock delivers is filtered and passed on: buffers do not grow."""
    resampler = Resampler(from_hz, 16_000)
    block = np.zeros(441, dtype=np.float32)
    kept, given = [], 0
    for number in range(1500):
        given += len(resampler.push(block))
        if number >= 3:
            kept.append(len(resampler._inputs))
    assert max(kept[700:]) <= max(kept[:700]) <= 2 * 51 * max(1, from_hz / 16_000) + 441
    assert abs(given - 1500 * 441 * 16_000 / from_hz) <= 120
