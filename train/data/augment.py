"""What happens to a keyword on its way to a microphone: it moves, meets noise, is loud or soft.

A waveform here is one clip, float32 (samples,) in [-1, 1]; nothing is changed in place.
"""

import numpy as np
from numpy.typing import NDArray

from .cuts import SAMPLE_RATE

Waveform = NDArray[np.float32]

_FADE_SAMPLES = SAMPLE_RATE // 50


def shift(waveform: Waveform, max_samples: int, rng: np.random.Generator) -> Waveform:
    """Move a clip by up to `max_samples` either way and fill the gap with zeros.

    Raises:
        ValueError: a negative reach.
    """
    if max_samples < 0:
        raise ValueError(f"max_samples must be 0 or more, got {max_samples}")
    offset = int(rng.integers(-max_samples, max_samples + 1))
    moved = np.zeros_like(waveform)
    if abs(offset) >= len(waveform):
        return moved
    if offset >= 0:
        moved[offset:] = waveform[: len(waveform) - offset]
    else:
        moved[:offset] = waveform[-offset:]
    return moved


def mix_noise(
    waveform: Waveform, noise: Waveform, snr_db: float, *, power: float | None = None
) -> Waveform:
    """Add noise at a signal-to-noise ratio of mean powers.

    Args:
        waveform: the clip; its power counts the silence around the word.
        noise: (samples,), repeated or cut to the clip's length.
        snr_db: 10 log10(power of the clip / power of the noise).
        power: mean square that stands for the clip's, such as the word's alone.

    Returns:
        The sum, which may leave [-1, 1]. Where either is all zeros no ratio exists, and the clip
        comes back as it was.

    Raises:
        ValueError: no noise at all.
    """
    if len(noise) == 0:
        raise ValueError("noise must hold one sample or more, got none")
    fitted = np.resize(noise, len(waveform)).astype(np.float64)
    signal_power = mean_power(waveform) if power is None else power
    noise_power = float(np.mean(np.square(fitted))) if len(fitted) else 0.0
    if signal_power == 0.0 or noise_power == 0.0:
        return waveform.copy()
    scale = np.sqrt(signal_power / noise_power) * 10.0 ** (-snr_db / 20.0)
    mixed: Waveform = (waveform + scale * fitted).astype(np.float32)
    return mixed


def gain(waveform: Waveform, gain_db: float) -> Waveform:
    """Amplify by `gain_db`; +6.02 dB doubles the amplitude. The result may leave [-1, 1]."""
    amplified: Waveform = (waveform * 10.0 ** (gain_db / 20.0)).astype(np.float32)
    return amplified


def fit_length(waveform: Waveform, num_samples: int) -> Waveform:
    """Cut or zero-fill both ends equally; an odd sample goes to the end.

    Raises:
        ValueError: a negative length.
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must be 0 or more, got {num_samples}")
    excess = len(waveform) - num_samples
    if excess >= 0:
        return waveform[excess // 2 : excess // 2 + num_samples].copy()
    fitted = np.zeros(num_samples, dtype=np.float32)
    fitted[-excess // 2 : -excess // 2 + len(waveform)] = waveform
    return fitted


def change_speed(waveform: Waveform, speed: float) -> Waveform:
    """Play a clip faster or slower, pitch and all.

    Args:
        waveform: the clip.
        speed: above 1 it is shorter and higher; the result has 1 / speed of the samples.

    Raises:
        ValueError: a speed of 0 or less.
    """
    if speed <= 0:
        raise ValueError(f"speed must be positive, got {speed}")
    if speed == 1.0 or not len(waveform):
        return waveform.copy()
    import soxr

    played: Waveform = soxr.resample(waveform, SAMPLE_RATE * speed, SAMPLE_RATE)
    return played


def in_room(waveform: Waveform, response: Waveform) -> Waveform:
    """Hear a clip in a room.

    Args:
        waveform: the clip.
        response: (samples,), the room's impulse response.

    Returns:
        as many samples, as loud on average as the clip was. The response's largest sample, the
        direct sound, is taken to come at once, so that the clip stays where it was; what the room
        still says after the clip is cut off.

    Raises:
        ValueError: a response without a sound.
    """
    if not np.any(response):
        raise ValueError("a room's response must hold a sample that is not 0")
    direct = int(np.abs(response).argmax())
    size = len(waveform) + len(response) - 1
    padded = 1 << max(0, size - 1).bit_length()
    spectrum = np.fft.rfft(waveform, padded) * np.fft.rfft(response, padded)
    heard = np.fft.irfft(spectrum, padded)[direct : direct + len(waveform)].astype(np.float32)
    powers = [mean_power(part) for part in (waveform, heard)]
    if min(powers) == 0.0:
        return waveform.copy()
    loud: Waveform = (heard * np.sqrt(powers[0] / powers[1])).astype(np.float32)
    return loud


def stretch_of(noise: Waveform, num_samples: int, rng: np.random.Generator) -> Waveform:
    """A stretch of a noise that starts anywhere, and goes on from the beginning after its end.

    Raises:
        ValueError: no noise at all.
    """
    if not len(noise):
        raise ValueError("noise must hold one sample or more, got none")
    start = int(rng.integers(len(noise)))
    places = (start + np.arange(num_samples)) % len(noise)
    return noise[places]


def mean_power(waveform: Waveform) -> float:
    """Mean square of the samples; 0 where there are none."""
    return float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0


def levelled(waveform: Waveform) -> Waveform:
    """With a root mean square of 1; silence stays silence."""
    scaled: Waveform = waveform / np.float32(np.sqrt(max(mean_power(waveform), 1e-12)))
    return scaled


def faded(waveform: Waveform) -> Waveform:
    """Faded in and out over 20 ms, so that no edge clicks."""
    fade = min(_FADE_SAMPLES, len(waveform) // 2)
    ramp = np.ones(len(waveform), dtype=np.float32)
    ramp[:fade] = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    ramp[len(waveform) - fade :] = ramp[:fade][::-1]
    shaped: Waveform = waveform * ramp
    return shaped
