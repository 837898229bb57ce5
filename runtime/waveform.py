"""What a caller may push as samples, as the one kind that models take."""

import numpy as np

from .faults import AudioFault

PEAK_LIMIT = 8.0
"""Largest |sample| taken for a waveform in [-1, 1]: resampling overshoots, but never by 18 dB."""

_OF_INT16 = np.float32(2.0**-15)


def as_waveform(block: np.ndarray) -> np.ndarray:
    """A caller's block as float32 (samples,) in [-1, 1]; int16 is divided by 32768.

    Raises:
        AudioFault: another dtype or shape, NaN or infinity, or a peak over 8: integers that
            were cast to float and not scaled.
    """
    if not isinstance(block, np.ndarray) or block.ndim != 1:
        raise AudioFault(
            f"a block must be an array (samples,) of one channel, got {describe(block)}. "
            "Average the channels of stereo first."
        )
    if block.dtype.kind == "i" and block.dtype.itemsize == 2:
        waveform: np.ndarray = np.multiply(block, _OF_INT16, dtype=np.float32)
        return waveform
    if block.dtype.kind != "f" or block.dtype.itemsize not in (4, 8):
        raise AudioFault(f"a block must be float32, float64 or int16, got {describe(block)}")
    # One product says it of all but loud blocks: no sample is larger than the root of their energy.
    if not block.dot(block) <= PEAK_LIMIT**2:
        _check_peak(block)
    return block.astype(np.float32, copy=False)


def _check_peak(block: np.ndarray) -> None:
    peak = float(np.max(np.abs(block), initial=0.0))
    if not np.isfinite(peak):
        raise AudioFault("a block holds NaN or infinity; samples must be finite, in [-1, 1]")
    if peak > PEAK_LIMIT:
        raise AudioFault(
            f"float samples must lie in [-1, 1], got a peak of {peak:g}. "
            "Divide by the integer type's range, or push int16."
        )


def describe(value: object) -> str:
    """dtype and shape, or the type of what is no array, for a message."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return type(value).__name__
