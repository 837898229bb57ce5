"""A Keyword Transformer that never looks ahead, so that a stream can run it step by step.

The Keyword Transformer's layers (arXiv:2104.00769) with what a stream needs, which is ours: tokens
of a few frames by a strided convolution, a causal convolution and biases by distance for their
places, attention to a bounded past, and the mean of the last second instead of a class token.
"""

from collections.abc import Mapping
from math import ceil

from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT
from . import cpu_training
from .causal_frontend import CausalFrontEnd
from .frontend import SAMPLE_RATE
from .frontend_config import preset
from .layers import FeedForward
from .streaming import (
    BoundedAttention,
    CausalConv1d,
    Shapes,
    SlidingMean,
    States,
    after,
    initial,
    part,
    prefixed,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CausalKeywordTransformerConfig:
    """Sizes; the defaults train in minutes on two cores."""

    frontend: str = "kaldi-logmel"
    """A preset of the front end whose frames stand alone, their windows within the waveform."""
    patch_frames: int = 4
    """Frames of the front end that make a token; their hop is the shortest step of a stream."""
    embed_dim: int = 64
    """Width of a token."""
    num_heads: int = 4
    """Of every layer."""
    head_dim: int = 16
    """Width of a head."""
    ffn_dim: int = 128
    """Width inside the feed-forward blocks."""
    num_layers: int = 4
    """Transformer layers."""
    position_kernel: int = 5
    """Tokens that the convolution before the layers sees, its own the last; 1 or more."""
    left_ms: int = 480
    """How far back each layer's attention reaches; rounded up to whole tokens, 1 or more."""
    pooled_ms: int = 1_000
    """What an answer is the mean over; rounded up to whole tokens, 2 or more."""
    dropout: float = 0.1
    """Of each block and of the pooled vector, in [0, 1)."""

    def __post_init__(self) -> None:
        sizes = (self.embed_dim, self.num_heads, self.head_dim, self.ffn_dim, self.num_layers)
        if min(*sizes, self.patch_frames, self.position_kernel, self.left_ms) < 1:
            raise ValueError(
                "embed_dim, num_heads, head_dim, ffn_dim, num_layers, patch_frames, "
                "position_kernel and left_ms must be 1 or more, got "
                f"{(*sizes, self.patch_frames, self.position_kernel, self.left_ms)}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        frontend = preset(self.frontend)
        if not frontend.frames_stand_alone or frontend.framing != "window":
            raise ValueError(
                f"frontend {self.frontend!r} looks ahead of a frame's window, which a causal model "
                "cannot; take one with framing 'window', without top_db and deltas"
            )
        if self.pooled_frames < 2:
            raise ValueError(f"pooled_ms must span two tokens or more, got {self.pooled_ms}")

    @property
    def hop_samples(self) -> int:
        """Samples of a token."""
        return self.patch_frames * preset(self.frontend).hop_samples

    @property
    def left_frames(self) -> int:
        """Tokens before its own that attention sees."""
        return self._tokens(self.left_ms)

    @property
    def pooled_frames(self) -> int:
        """Tokens that an answer is the mean of."""
        return self._tokens(self.pooled_ms)

    def _tokens(self, duration_ms: int) -> int:
        return ceil(duration_ms * SAMPLE_RATE / 1000 / self.hop_samples)


class CausalKeywordTransformer(nn.Module):
    """Waveform to a vector at each token: the mean over the last second of tokens."""

    def __init__(self, config: CausalKeywordTransformerConfig) -> None:
        super().__init__()
        self.config = config
        frontend, width = preset(config.frontend), config.embed_dim
        self.frontend = CausalFrontEnd(frontend)
        self.input_norm = nn.BatchNorm1d(frontend.output_dim)
        patch = config.patch_frames
        self.patch = CausalConv1d(frontend.output_dim, width, patch, stride=patch)
        self.position = CausalConv1d(width, width, config.position_kernel, groups=width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width)
        self.mean = SlidingMean(width, config.pooled_frames)
        self.dropout = cpu_training.Dropout(config.dropout)

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        return self.config.embed_dim

    @property
    def hop_samples(self) -> int:
        """Samples from one vector to the next."""
        return self.config.hop_samples

    @property
    def window_samples(self) -> int:
        """Samples that a vector is the mean over."""
        return self.config.pooled_frames * self.hop_samples

    def shapes(self) -> Shapes:
        """Of all states."""
        shapes: Shapes = {
            **prefixed("pcm", self.frontend.shapes()),
            **prefixed("position", self.position.shapes()),
            "seen": (self.config.left_frames,),
        }
        for number, layer in enumerate(self._layers()):
            shapes |= prefixed(f"layer{number}", layer.attention.shapes())
        return shapes | prefixed("mean", self.mean.shapes())

    def stream(self, waveform: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """Hear a piece.

        Args:
            waveform: (batch, samples) in [-1, 1], a multiple of `hop_samples`.
            states: of the pieces before; `shapes` names them.

        Returns:
            (batch, samples / hop_samples, embed_dim): the vector after each hop; and the states.
        """
        after_it: States = {}
        features, pcm = self.frontend(waveform, part(states, "pcm"))
        normed = self.input_norm(features.transpose(1, 2))  # (batch, dim, frames)
        patches, _ = self.patch(normed, {})  # as long as its stride: no past
        places, position = self.position(patches, part(states, "position"))
        hidden = (patches + functional.gelu(places)).transpose(1, 2)  # (batch, tokens, embed_dim)
        after_it |= {**prefixed("pcm", pcm), **prefixed("position", position)}
        after_it["seen"] = after(states["seen"], hidden.shape[1])
        for number, layer in enumerate(self._layers()):
            hidden, new = layer(hidden, part(states, f"layer{number}"), states["seen"])
            after_it |= prefixed(f"layer{number}", new)
        pooled, mean = self.mean(self.norm(hidden), part(states, "mean"))
        return self.dropout(pooled), after_it | prefixed("mean", mean)

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) to (batch, embed_dim): the vector at the end of a stream of these alone.

        Where the samples are no multiple of the hop, silence goes before them. `lengths` is not
        needed: padding is silence.
        """
        waveform = functional.pad(waveform, (-waveform.shape[1] % self.hop_samples, 0))
        states = initial(self.shapes(), waveform.shape[0], like=waveform)
        pooled, _ = self.stream(waveform, states)
        return pooled[:, -1]

    def _layers(self) -> list["_Layer"]:
        return [layer for layer in self.layers if isinstance(layer, _Layer)]


class _Layer(nn.Module):
    """Attention to the past and feed-forward with residuals, LayerNorm before each."""

    def __init__(self, config: CausalKeywordTransformerConfig) -> None:
        super().__init__()
        width = config.embed_dim
        self.attention_norm = nn.LayerNorm(width)
        self.attention = BoundedAttention(
            width, config.num_heads, config.head_dim, config.left_frames
        )
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn = FeedForward(width, config.ffn_dim, dropout=0.0)
        self.dropout = cpu_training.Dropout(config.dropout)

    def forward(
        self, hidden: Tensor, states: Mapping[str, Tensor], seen: Tensor
    ) -> tuple[Tensor, States]:
        """(batch, tokens, embed_dim) to the same shape, and the attention's states after it."""
        mixed, states_after = self.attention(self.attention_norm(hidden), states, seen)
        hidden = hidden + self.dropout(mixed)
        return hidden + self.dropout(self.ffn(self.ffn_norm(hidden))), states_after
