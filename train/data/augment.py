"""What happens to a keyword on its way to a microphone: it moves, meets noise, is loud or soft.

A waveform here is one clip, float32 (samples,) in [-1, 1]; nothing is changed in place.
"""

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]


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


def mix_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Add noise at a signal-to-noise ratio of mean powers.

    Args:
        waveform: the clip; its power counts the silence around the word.
        noise: (samples,), repeated or cut to the clip's length.
        snr_db: 10 log10(power of the clip / power of the noise).

    Returns:
        The sum, which may leave [-1, 1]. Where either is all zeros no ratio exists, and the clip
        comes back as it was.

    Raises:
        ValueError: no noise at all.
    """
    if len(noise) == 0:
        raise ValueError("noise must hold one sample or more, got none")
    fitted = np.resize(noise, len(waveform)).astype(np.float64)
    signal_power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
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
