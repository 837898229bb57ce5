"""An encoder that hears in chunks as one vector a moment: a body for keywords in a stream."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.streaming import Shapes, SlidingMean, States, initial, part, prefixed
from ..models.wav2vec2 import Wav2Vec2Encoder
from ..models.wav2vec2_streaming import chunks_of

POOLED_FRAMES = 50
"""Frames that an answer judges: 1 s, as long as the clips of speech commands."""


class StreamingPooledEncoder(nn.Module):
    """Layers weighted as in `keywords.PooledEncoder`, and the frames of the last second averaged.

    Its weights have the names and shapes of a `PooledEncoder`'s.
    """

    def __init__(self, encoder: Wav2Vec2Encoder) -> None:
        """Set up.

        Args:
            encoder: with `config.streaming`.

        Raises:
            ValueError: the encoder hears whole utterances.
        """
        super().__init__()
        self.encoder = encoder
        self.layer_weights = nn.Parameter(torch.zeros(encoder.config.num_layers + 1))
        self.hop_samples = encoder.config.stride_samples
        """Samples of a frame."""
        self.chunk_frames = chunks_of(encoder).chunk_frames
        """A piece of a stream holds a multiple of these frames."""
        self.window_samples = POOLED_FRAMES * self.hop_samples
        """How far back an answer judges."""
        self.mean = SlidingMean(self.output_dim, POOLED_FRAMES)

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        return self.encoder.config.embed_dim

    def shapes(self) -> Shapes:
        """Of the states of `stream`, which are zeros before the first piece."""
        return self.encoder.shapes() | prefixed("mean", self.mean.shapes())

    def stream(self, waveform: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """Judge at each frame.

        What is given at a frame looks ahead to the end of its chunk; at the last of a chunk it
        looks at nothing to come.

        Args:
            waveform: (batch, samples) in [-1, 1], a multiple of chunk_frames * hop_samples.
            states: (batch, *shape) each, by `shapes`.

        Returns:
            pooled vectors (batch, frames, output_dim), and the states after them.

        Raises:
            ValueError: a piece that does not hold whole chunks.
        """
        context, after_it = self.encoder.stream(waveform, states)
        weights = self.layer_weights.softmax(0)
        hidden = torch.stack(context.hidden_states)  # (layers + 1, batch, frames, embed_dim)
        mixed = (hidden * weights.view(-1, 1, 1, 1)).sum(0)
        pooled, means = self.mean(mixed, part(states, "mean"))
        return pooled, after_it | prefixed("mean", means)

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Judge whole recordings at their ends.

        A stream answers at the end of a chunk. So each recording is heard as a stream whose last
        chunk ends with it: silence comes before, as much as whole chunks need.

        Args:
            waveform: (batch, samples) in [-1, 1].
            lengths: int (batch,), samples of each row before its padding; None: no padding.

        Returns:
            (batch, output_dim), the vector at the last frame.
        """
        batch, samples = waveform.shape
        chunk_samples = self.chunk_frames * self.hop_samples
        states = initial(self.shapes(), batch, like=waveform)
        if lengths is None:
            waveform = functional.pad(waveform, (-samples % chunk_samples, 0))
            return self.stream(waveform, states)[0][:, -1]
        silence = -lengths % chunk_samples
        longest = samples + -samples % chunk_samples
        places = torch.arange(longest, device=waveform.device) - silence.unsqueeze(1)
        heard = (places >= 0) & (places < lengths.unsqueeze(1))
        waveform = waveform.gather(1, places.clamp(0, samples - 1)) * heard
        pooled, _ = self.stream(waveform, states)
        last = (lengths + silence) // self.hop_samples - 1
        return pooled[torch.arange(batch, device=pooled.device), last]
