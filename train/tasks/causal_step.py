"""A model with a causal body as one step of a stream: a chunk of PCM and states in, posteriors and
states out.

The same layers as in training, so what a stream answers is what was trained: `answers` is the
trained form over a whole recording, and stepping through it gives the same numbers.
"""

import copy
from abc import ABC, abstractmethod
from typing import Any, cast

from torch import Tensor, nn

from runtime.manifest import State

from ..errors import TrainError
from ..models.causal_tcn import CausalTcn
from ..models.streaming import BoundedAttention, initial
from .bodies import CausalBody


class CausalStep(nn.Module, ABC):
    """A step of `chunk_samples`; its answer depends on no later sample."""

    def __init__(self, model: nn.Module, chunk_frames: int) -> None:
        """Copy and prepare.

        Args:
            model: with a causal body as its `body`; it stays as it is.
            chunk_frames: frames of the body, `hop_samples` each, from one answer to the next.

        Raises:
            TrainError: a chunk holds no frame, or part of a body's own.
        """
        super().__init__()
        body = cast(CausalBody, model.body)
        least = least_chunk_frames(body)
        if chunk_frames < 1 or chunk_frames % least:
            rule = "1 frame" if least == 1 else f"multiples of {least} frames, {least}"
            raise TrainError(
                f"a step takes {rule} of {body.hop_samples} samples or more, got {chunk_frames}"
            )
        model = copy.deepcopy(model).eval()
        for layer in model.modules():
            if isinstance(layer, BoundedAttention | CausalTcn):
                layer.merge()
        self.model: Any = model.requires_grad_(False)
        self.chunk_frames = chunk_frames
        self.chunk_samples = chunk_frames * self.body.hop_samples
        self.window_samples = self.body.window_samples
        self.states = tuple(
            State(name=name, shape=(1, *shape)) for name, shape in self.body.shapes().items()
        )
        self.eval()

    @property
    def body(self) -> CausalBody:
        """The model's; as a module of its own it would give its layers a second name."""
        return cast(CausalBody, self.model.body)

    @property
    @abstractmethod
    def answer_shape(self) -> tuple[int, ...]:
        """Of an answer's posteriors, which are along the last axis."""

    @abstractmethod
    def judged(self, vectors: Tensor) -> Tensor:
        """The body's vectors of a chunk (1, chunk_frames, dim) to posteriors (1, *answer_shape)."""

    @abstractmethod
    def all_judged(self, vectors: Tensor) -> Tensor:
        """Of whole chunks (batch, frames, dim) to (batch, chunks, *answer_shape)."""

    def forward(self, pcm: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Hear a chunk.

        Args:
            pcm: (1, chunk_samples) in [-1, 1].
            states: in the order of `self.states`; all zeros before the first chunk.

        Returns:
            posteriors (1, *answer_shape), and the next states in that order.
        """
        named = {state.name: value for state, value in zip(self.states, states, strict=True)}
        vectors, after_it = self.body.stream(pcm, named)
        return self.judged(vectors), *(after_it[state.name] for state in self.states)

    def answers(self, waveform: Tensor) -> Tensor:
        """What a stream of each recording answers, all at once, in the form that was trained.

        Args:
            waveform: (batch, samples) in [-1, 1]; what is left over after the last chunk is not
                heard.

        Returns:
            posteriors (batch, samples // chunk_samples, *answer_shape).
        """
        chunks = waveform.shape[1] // self.chunk_samples
        if not chunks:
            return waveform.new_zeros(waveform.shape[0], 0, *self.answer_shape)
        states = initial(self.body.shapes(), waveform.shape[0], like=waveform)
        vectors, _ = self.body.stream(waveform[:, : chunks * self.chunk_samples], states)
        return self.all_judged(vectors)


def least_chunk_frames(body: CausalBody) -> int:
    """Frames of the shortest step: one, or of a body that hears in chunks, one of those."""
    return int(getattr(body, "chunk_frames", 1))
