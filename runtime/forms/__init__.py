"""Streaming forms: one file each, found by the name that a manifest states."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from ..manifest import Streaming

if TYPE_CHECKING:
    from ..stream import Model

Ask = Callable[[np.ndarray], np.ndarray]
"""A model without a stream, on whole recordings; `Form.ask` says which shapes it takes and gives.
It may be the graph itself, or the module that was trained."""


class Memory(Protocol):
    """What one stream keeps from hop to hop, and how a hop becomes posteriors with it."""

    size_bytes: int
    """Of all that is kept."""

    def answer(self, hop: np.ndarray) -> np.ndarray:
        """Run the graph on the next hop.

        Args:
            hop: float32 (hop_samples,), read and not kept.

        Returns:
            float32, of the manifest's `answer_shape`, finite; an engine may write over it at the
            next answer.

        Raises:
            BundleFault: the model fails or gives what is not finite; nothing is to be answered
                then before a `reset`.
        """

    def warm(self, hop: np.ndarray) -> None:
        """Take the next hop where nobody wants the answer; it may cost less, and fails as that."""

    def reset(self) -> None:
        """Forget every hop."""


class Form(Protocol):
    """What a file of this folder offers: how a stream runs, and the law that it must keep."""

    def start(self, model: "Model") -> Memory:
        """The memory of a new stream; the model stays as it is, and other streams share it."""

    def ask(self, model: "Model", pcm: np.ndarray) -> np.ndarray:
        """What the graph answers to recordings without a stream; NaN is let through.

        Args:
            model: whose engine is run.
            pcm: float32 (batch, samples), as `num_answers` takes them.

        Returns:
            (`num_answers`, *answer_shape).

        Raises:
            BundleFault: what `num_answers` refuses, or the engine.
        """

    def num_answers(self, shape: tuple[int, ...], streaming: Streaming) -> int:
        """How many answers `ask` gives to recordings of a shape (batch, samples).

        Raises:
            BundleFault: the graph cannot be asked that.
        """

    def offline(self, ask: Ask, waveform: np.ndarray, streaming: Streaming) -> np.ndarray:
        """What a stream must answer, computed from the whole recording.

        Args:
            ask: the graph's own `ask`, or the trained module's answers to the same.
            waveform: float32 (samples,) in [-1, 1], a hop or more.
            streaming: the manifest's.

        Returns:
            (answers, *answer_shape), in the order of the stream's answers.
        """

    def in_stream(self, num_samples: int, streaming: Streaming) -> range:
        """Which of a stream's answers `ask` gives to the same recording, in the order of `ask`.

        Returns:
            their numbers, from 0; empty where no answer of a stream is one of `ask`.
        """


def form_of(streaming: Streaming) -> Form:
    """The form that a manifest states; the manifest's own check has refused unknown ones."""
    return cast(Form, import_module(f".{streaming.form}", __name__))
