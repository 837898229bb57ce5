"""The model run anew on the last window after every hop; silence lies before the first sample."""

from typing import TYPE_CHECKING

import numpy as np

from ..manifest import Streaming
from . import Ask

if TYPE_CHECKING:
    from ..stream import Model


class Window:
    """The last `window_samples` samples."""

    def __init__(self, model: "Model") -> None:
        self._model = model
        self._window = np.zeros((1, model.manifest.streaming.window_samples), dtype=np.float32)
        self._samples = self._window[0]
        self._feeds = {model.manifest.inputs[0].name: self._window}
        self._posteriors = model.manifest.outputs[0].name
        self._shape = (1, len(model.labels))
        self.size_bytes = self._window.nbytes

    def answer(self, hop: np.ndarray) -> np.ndarray:
        """The model's to the window that ends with this hop."""
        self.warm(hop)
        posteriors = self._model.engine.run(self._feeds)[self._posteriors]
        self._model.check(self._posteriors, posteriors, self._shape)
        row: np.ndarray = posteriors[0]
        return row

    def warm(self, hop: np.ndarray) -> None:
        """The window moves on; nothing is run."""
        kept_samples = len(self._samples) - len(hop)
        self._samples[:kept_samples] = self._samples[len(hop) :]
        self._samples[kept_samples:] = hop

    def reset(self) -> None:
        """Back to silence."""
        self._samples[:] = 0.0


def start(model: "Model") -> Window:
    """A window of silence."""
    return Window(model)


def ask(model: "Model", pcm: np.ndarray) -> np.ndarray:
    """One answer a recording, of any length that the graph takes."""
    manifest = model.manifest
    return model.engine.run({manifest.inputs[0].name: pcm})[manifest.outputs[0].name]


def num_answers(shape: tuple[int, ...], streaming: Streaming) -> int:
    """One a recording."""
    return shape[0]


def offline(ask: Ask, waveform: np.ndarray, streaming: Streaming) -> np.ndarray:
    """Answer k is the model's to the window that ends at sample (k + 1) * hop.

    Windows are asked one by one, as a stream does: in 8 bits, a batch may share its scales.
    """
    window_samples, hop_samples = streaming.window_samples, streaming.hop_samples
    padded = np.concatenate([np.zeros(window_samples, dtype=np.float32), waveform])
    ends = range(hop_samples, len(waveform) + 1, hop_samples)
    return np.concatenate([ask(padded[None, end : end + window_samples]) for end in ends])


def in_stream(num_samples: int, streaming: Streaming) -> range:
    """The recording must fill a window, and end where one does."""
    if num_samples != streaming.window_samples or num_samples % streaming.hop_samples:
        return range(0)
    last = num_samples // streaming.hop_samples - 1
    return range(last, last + 1)
