"""A keyword model as one step of a stream: a chunk of PCM and states in, posteriors and states out.

The same layers as in training, so what a stream answers is what was trained: `answers` is the
trained form over a whole recording, and stepping through it gives the same numbers.
"""

import copy
from typing import cast

from torch import Tensor, nn

from runtime.manifest import State

from ..errors import TrainError
from ..models.causal_tcn import CausalTcn
from ..models.streaming import BoundedAttention, chunk_ends, initial
from ..models.wav2vec2_config import why_not_streaming
from .bodies import BODIES, CausalBody, is_causal
from .keywords import KeywordModel, PooledEncoder


class KeywordStep(nn.Module):
    """A step of `chunk_samples`; its answer depends on no later sample."""

    def __init__(self, model: KeywordModel, chunk_frames: int) -> None:
        """Copy and prepare.

        Args:
            model: with a causal body; it stays as it is.
            chunk_frames: frames of the body, `hop_samples` each, from one answer to the next.

        Raises:
            TrainError: the body is not causal, or a chunk holds no frame, or part of a body's own.
        """
        super().__init__()
        if not isinstance(model.body, CausalBody):
            causal = list(filter(is_causal, BODIES))
            raise TrainError(
                f"{type(model.body).__name__} cannot run step by step: its stream would differ "
                f"from what was trained, because {_why_not(model.body)}. Export it as a sliding "
                f"window, or train a causal body ({', '.join(causal)})"
            )
        least: int = getattr(model.body, "chunk_frames", 1)  # of a body that hears in chunks
        if chunk_frames < 1 or chunk_frames % least:
            rule = "1 frame" if least == 1 else f"multiples of {least} frames, {least}"
            raise TrainError(
                f"a step takes {rule} of {model.body.hop_samples} samples or more, got "
                f"{chunk_frames}"
            )
        model = copy.deepcopy(model).eval()
        for layer in model.modules():
            if isinstance(layer, BoundedAttention | CausalTcn):
                layer.merge()
        self.model = model.requires_grad_(False)
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

    def forward(self, pcm: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Hear a chunk.

        Args:
            pcm: (1, chunk_samples) in [-1, 1].
            states: in the order of `self.states`; all zeros before the first chunk.

        Returns:
            posteriors (1, labels) at the chunk's end, and the next states in that order.
        """
        named = {state.name: value for state, value in zip(self.states, states, strict=True)}
        pooled, after_it = self.body.stream(pcm, named)
        posteriors = self.model.classifier(pooled[:, -1]).softmax(-1)
        return posteriors, *(after_it[state.name] for state in self.states)

    def answers(self, waveform: Tensor) -> Tensor:
        """What a stream of each recording answers, all at once, in the form that was trained.

        Args:
            waveform: (batch, samples) in [-1, 1]; what is left over after the last chunk is not
                heard.

        Returns:
            posteriors (batch, samples // chunk_samples, labels), at each chunk's end.
        """
        chunks = waveform.shape[1] // self.chunk_samples
        if not chunks:
            return waveform.new_zeros(waveform.shape[0], 0, len(self.model.labels))
        states = initial(self.body.shapes(), waveform.shape[0], like=waveform)
        pooled, _ = self.body.stream(waveform[:, : chunks * self.chunk_samples], states)
        posteriors: Tensor = self.model.classifier(chunk_ends(pooled, self.chunk_frames)).softmax(
            -1
        )
        return posteriors


def _why_not(body: object) -> str:
    """What of a body without a stream depends on more than was heard."""
    if isinstance(body, PooledEncoder):
        reason = why_not_streaming(body.encoder.config)
        return reason or "frames of the whole window are averaged; keywords.pooled streams"
    return (
        "it was trained on whole windows, where a frame depends on later ones and on where the "
        "window begins"
    )
