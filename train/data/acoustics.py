"""Noise and rooms made from a seed, for synthetic recordings."""

import numpy as np
from numpy.typing import NDArray

from .cuts import SAMPLE_RATE

Waveform = NDArray[np.float32]

_LOWEST_HZ = 50.0


def coloured_noise(num_samples: int, slope: float, rng: np.random.Generator) -> Waveform:
    """Noise whose power falls as 1 / f^slope above 50 Hz, with a root mean square of 1.

    Args:
        num_samples: 1 or more.
        slope: 0 is white, 1 pink, 2 brown.
        rng: the caller's generator.
    """
    spectrum = np.fft.rfft(rng.standard_normal(max(num_samples, 2)))
    frequencies_hz = np.fft.rfftfreq(max(num_samples, 2), 1 / SAMPLE_RATE)
    spectrum *= np.maximum(frequencies_hz, _LOWEST_HZ) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, max(num_samples, 2))[:num_samples]
    scaled: Waveform = (noise / np.sqrt(np.mean(np.square(noise)))).astype(np.float32)
    return scaled


def in_a_room(
    waveform: Waveform, *, decay_s: float, tail_db: float, tilt: float, rng: np.random.Generator
) -> Waveform:
    """Colour a clip as a small room and a cheap microphone do.

    The direct sound is followed by noise that decays; then the spectrum is tilted.

    Args:
        waveform: (samples,) at 16 kHz.
        decay_s: time in which the tail falls by 60 dB.
        tail_db: energy of the tail against the direct sound's.
        tilt: gain (f / 1 kHz)^tilt, between 100 Hz and 8 kHz.
        rng: the caller's generator.

    Returns:
        (samples,), what rings on past the end cut off.
    """
    tail_samples = max(1, round(decay_s * SAMPLE_RATE))
    tail = rng.standard_normal(tail_samples) * 10.0 ** (
        -3.0 * np.arange(tail_samples) / tail_samples
    )
    tail *= 10.0 ** (tail_db / 20.0) / np.sqrt(np.sum(np.square(tail)))
    response = np.concatenate(([1.0], tail))
    size = 1 << (len(waveform) + len(response) - 1).bit_length()
    frequencies_hz = np.clip(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 100.0, 8000.0)
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(response, size)
    spectrum *= (frequencies_hz / 1000.0) ** tilt
    coloured: Waveform = np.fft.irfft(spectrum, size)[: len(waveform)].astype(np.float32)
    return coloured
