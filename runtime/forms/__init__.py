"""Streaming forms: one file each, found by the name that a manifest states."""

from collections.abc import Callable
from importlib import import_module
from typing import Protocol, cast

import numpy as np

from ..manifest import Streaming

Ask = Callable[[np.ndarray], np.ndarray]
"""A model without a memory: float32 (batch, samples) to (batch, num_labels)."""


class Form(Protocol):
    """What a file of this folder offers: the law that a stream of this form must keep."""

    def offline(self, ask: Ask, waveform: np.ndarray, streaming: Streaming) -> np.ndarray:
        """What a stream must answer, computed from the whole recording.

        Args:
            ask: the model, or the module that it was exported from.
            waveform: float32 (samples,) in [-1, 1].
            streaming: the manifest's.

        Returns:
            (answers, num_labels), in the order of the stream's answers.
        """

    def sees_all(self, num_samples: int, streaming: Streaming) -> int | None:
        """Which of the stream's answers is the model's to a whole recording of `num_samples`.

        Returns:
            its number, from 0; None where no answer is.
        """


def form_of(streaming: Streaming) -> Form:
    """The form that a manifest states; the manifest's own check has refused unknown ones."""
    return cast(Form, import_module(f".{streaming.form}", __name__))
