"""Run a bundle over many recordings, each a stream of its own, on every processor."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.stream import Model, start
from train.progress import track

from .matching import Word
from .trace import Trace, trace

Source = Callable[[], tuple[NDArray[np.float32], list[Word]]]
"""Reads or makes a waveform at the bundle's rate and the words in it, when it is its turn: few are
in memory at a time."""
Heard = tuple[Trace, list[Word]]
"""What the model said, and what was said."""


def hear(bundle: Bundle, sources: Sequence[Source], what: str) -> list[Heard]:
    """Traces of streams and the words in them, in the sources' order, with a progress bar.

    Each thread has a model of its own, as an engine may keep its buffers; engines and decoders run
    without the interpreter's lock.

    Args:
        bundle: as `read_bundle` gives it.
        sources: of waveforms.
        what: the bar's text.

    Raises:
        RuntimeFault: no engine, or what `trace` raises.
        TrainError: what a source raises.
    """
    own = threading.local()

    def run(source: Source) -> Heard:
        if not hasattr(own, "model"):
            own.model = start(bundle)
        model: Model = own.model
        waveform, words = source()
        return trace(model, waveform), words

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        futures = [pool.submit(run, source) for source in sources]
        try:
            return [future.result() for future in track(futures, what)]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C or a fault: no more of them
