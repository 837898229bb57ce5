"""One source's samples, in blocks of any size, cut into the hops that a model answers to."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np

from .faults import BundleFault
from .waveform import as_waveform

Given = TypeVar("Given")
"""What a stream gives for a block."""


class HopStream(ABC, Generic[Given]):
    """A stream that begins in silence at 0 seconds, whose model answers after every hop.

    When it answers depends on the number of received samples alone, so that any chunking gives the
    same.
    """

    def __init__(self, hop_samples: int) -> None:
        self._hop = np.zeros(hop_samples, dtype=np.float32)
        self._begin()

    @abstractmethod
    def push(self, block: np.ndarray) -> Given:
        """Take the next samples and give what they complete.

        Args:
            block: (samples,), any number from none on; float32 or float64 in [-1, 1], or int16.

        Raises:
            AudioFault: another dtype or shape, NaN, or float samples that were never scaled. The
                stream is then as it was before.
            BundleFault: the model fails. After that, or a stop of any other kind within a block,
                the stream has lost its place and refuses every block until `reset()`.
        """

    @abstractmethod
    def flush(self) -> Given:
        """End the stream: give what its tail completes, then reset."""

    @abstractmethod
    def reset(self) -> None:
        """Back to silence at 0 seconds, as a new stream."""

    def _begin(self) -> None:
        self._received_samples = 0
        self._within_block = False

    def _hops(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Each hop that the block completes; `_received_samples` is then that at its end.

        Args:
            block: as `push` takes it.

        Yields:
            float32 (hop_samples,), which may be written over by the next.

        Raises:
            AudioFault, BundleFault: as `push`.
        """
        if self._within_block:
            raise BundleFault(
                "this stream stopped within a block and lost its place: reset() it before going "
                "on, and run doctor if it happens again."
            )
        waveform = as_waveform(block)
        self._within_block = True  # until it is not: Ctrl-C may come while the engine runs
        hop_samples = len(self._hop)
        taken = 0
        while taken < len(waveform):
            filled = self._received_samples % hop_samples
            num_samples = min(hop_samples - filled, len(waveform) - taken)
            hop = waveform[taken : taken + num_samples]
            if num_samples < hop_samples:
                self._hop[filled : filled + num_samples] = hop
                hop = self._hop
            taken += num_samples
            self._received_samples += num_samples
            if filled + num_samples == hop_samples:
                yield hop
        self._within_block = False
