"""The model run anew on the last window after every hop; silence lies before the first sample."""

import numpy as np

from ..manifest import Streaming
from . import Ask


def offline(ask: Ask, waveform: np.ndarray, streaming: Streaming) -> np.ndarray:
    """Answer k is the model's to the window that ends at sample (k + 1) * hop.

    Windows are asked one by one, as a stream does: in 8 bits, a batch may share its scales.
    """
    window_samples, hop_samples = streaming.window_samples, streaming.hop_samples
    padded = np.concatenate([np.zeros(window_samples, dtype=np.float32), waveform])
    ends = range(hop_samples, len(waveform) + 1, hop_samples)
    return np.concatenate([ask(padded[None, end : end + window_samples]) for end in ends])


def sees_all(num_samples: int, streaming: Streaming) -> int | None:
    """The recording must fill a window, and end where one does."""
    if num_samples != streaming.window_samples or num_samples % streaming.hop_samples:
        return None
    return num_samples // streaming.hop_samples - 1
