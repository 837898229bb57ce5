"""A causal conformer: what is trained on recordings runs on a stream, hop by hop.

Block: Gulati et al., arXiv:2005.08100, figure 1. Where it differs, for streams: convolutions see
the past alone, attention a bounded past, and positions are a learned bias for each head and
distance in place of Transformer-XL's sinusoids. BatchNorm folds into the convolution before it.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT
from .causal_frontend import CausalFrontEnd, check_causal
from .cpu_training import Dropout
from .frontend_config import FrontEndConfig, NamedFrontEnd
from .streaming import (
    BoundedAttention,
    CausalConv1d,
    Shapes,
    SlidingMean,
    States,
    Tail,
    after,
    initial,
    part,
    prefixed,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ConformerConfig:
    """Sizes; the defaults are ours, small enough to train on a desktop core in minutes."""

    front_end: NamedFrontEnd = FrontEndConfig()
    """What is looked at, or the name of a preset; one whose frames stand alone."""
    subsampling: Literal[2, 4] = 4
    """Front-end frames to one of the encoder: 4 gives 25 frames a second at a hop of 10 ms."""
    stem_channels: int = 24
    """Of the two convolutions that subsample."""
    embed_dim: int = 64
    """Width of a frame; a multiple of `num_heads`."""
    num_layers: int = 3
    """Conformer blocks."""
    num_heads: int = 4
    """Of attention."""
    ffn_dim: int = 192
    """Inner width of each half feed-forward."""
    conv_kernel: int = 9
    """Frames that the depthwise convolution sees, the present one among them."""
    left_frames: int = 25
    """Frames before the present one that attention sees."""
    pooled_frames: int = 25
    """Frames whose mean is the keyword vector; 25 are a second."""
    dropout: float = 0.1
    """After each part of a block and inside the feed-forwards, in [0, 1)."""

    def __post_init__(self) -> None:
        check_causal(self.front_end)
        least = min(
            self.stem_channels,
            self.embed_dim,
            self.num_layers,
            self.num_heads,
            self.ffn_dim,
            self.conv_kernel,
            self.left_frames,
            self.pooled_frames - 1,
        )
        if least < 1:
            raise ValueError("pooled_frames must be 2 or more, every other size 1 or more")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim must be a multiple of num_heads, got {self.embed_dim} and "
                f"{self.num_heads}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")

    @property
    def hop_samples(self) -> int:
        """Samples of one frame of the encoder."""
        return self.front_end.hop_samples * self.subsampling


class CausalConv2d(nn.Module):
    """3 x 3 over frequency, which it halves, and over the past."""

    def __init__(self, in_channels: int, channels: int, bands: int, stride: int) -> None:
        """Make.

        Args:
            in_channels: of the image.
            channels: of the result.
            bands: of the image; half of them, rounded up, are left.
            stride: over time, 1 to 3.
        """
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, stride=(2, stride), padding=(1, 0))
        self.image = (in_channels, bands)
        self.past = Tail(in_channels * bands, 3 - stride)

    def shapes(self) -> Shapes:
        """Of the state."""
        return self.past.shapes()

    def forward(self, image: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """(batch, in_channels, bands, time) to (batch, channels, bands / 2, time / stride)."""
        signal, after_it = self.past(image.flatten(1, 2), states)
        return self.conv(signal.unflatten(1, self.image)), after_it


class Subsampling(nn.Module):
    """Features to frames: two convolutions and a projection."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        bands, channels = config.front_end.output_dim, config.stem_channels
        halved = (bands + 1) // 2
        self.norm = nn.BatchNorm1d(bands)
        self.first = CausalConv2d(1, channels, bands, 2)
        self.second = CausalConv2d(channels, channels, halved, config.subsampling // 2)
        self.project = nn.Linear(channels * ((halved + 1) // 2), config.embed_dim)
        self.dropout = Dropout(config.dropout)

    def shapes(self) -> Shapes:
        """Of what both convolutions heard last."""
        return {
            **prefixed("first", self.first.shapes()),
            **prefixed("second", self.second.shapes()),
        }

    def forward(self, features: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """(batch, time, features) to (batch, time / subsampling, embed_dim), and the states."""
        image = self.norm(features.transpose(1, 2)).unsqueeze(1)  # (batch, 1, bands, time)
        image, of_first = self.first(image, part(states, "first"))
        image, of_second = self.second(image.relu(), part(states, "second"))
        frames = image.relu().flatten(1, 2).transpose(1, 2)
        after_it = {**prefixed("first", of_first), **prefixed("second", of_second)}
        return self.dropout(self.project(frames)), after_it


class HalfFeedForward(nn.Module):
    """Normalize, two linear layers around a swish; the block adds half of it."""

    def __init__(self, embed_dim: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.up = nn.Linear(embed_dim, ffn_dim)
        self.down = nn.Linear(ffn_dim, embed_dim)
        self.dropout = Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, frames, embed_dim) to the same shape."""
        inner = self.dropout(functional.silu(self.up(self.norm(hidden))))
        projected: Tensor = self.dropout(self.down(inner))
        return projected


class ConvModule(nn.Module):
    """Normalize, widen and gate, a depthwise convolution over the past, swish, project."""

    def __init__(self, embed_dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.widen = nn.Linear(embed_dim, 2 * embed_dim)
        self.depthwise = CausalConv1d(embed_dim, embed_dim, kernel, groups=embed_dim, bias=False)
        self.batch_norm = nn.BatchNorm1d(embed_dim)
        self.project = nn.Linear(embed_dim, embed_dim)
        self.dropout = Dropout(dropout)

    def shapes(self) -> Shapes:
        """Of what the convolution heard last."""
        return self.depthwise.shapes()

    def forward(self, hidden: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """(batch, frames, embed_dim) to the same shape, and the states after it."""
        gated = functional.glu(self.widen(self.norm(hidden)), dim=-1)
        mixed, after_it = self.depthwise(gated.transpose(1, 2), states)
        active = functional.silu(self.batch_norm(mixed)).transpose(1, 2)
        return self.dropout(self.project(active)), after_it


class ConformerBlock(nn.Module):
    """Half a feed-forward, attention, convolution, the other half, a norm."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        dim, heads, dropout = config.embed_dim, config.num_heads, config.dropout
        self.first_half = HalfFeedForward(dim, config.ffn_dim, dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = BoundedAttention(dim, heads, dim // heads, config.left_frames)
        self.dropout = Dropout(dropout)
        self.conv = ConvModule(dim, config.conv_kernel, dropout)
        self.second_half = HalfFeedForward(dim, config.ffn_dim, dropout)
        self.norm = nn.LayerNorm(dim)

    def shapes(self) -> Shapes:
        """Of keys, values and what the convolution heard last."""
        return {**self.attention.shapes(), **prefixed("conv", self.conv.shapes())}

    def forward(
        self, hidden: Tensor, states: Mapping[str, Tensor], seen: Tensor
    ) -> tuple[Tensor, States]:
        """Run the block.

        Args:
            hidden: (batch, frames, embed_dim).
            states: those of `shapes`.
            seen: (batch, left_frames), 1 where a frame before this piece was heard.

        Returns:
            (batch, frames, embed_dim), and the states after it.
        """
        hidden = hidden + 0.5 * self.first_half(hidden)
        mixed, of_attention = self.attention(self.attention_norm(hidden), states, seen)
        hidden = hidden + self.dropout(mixed)
        mixed, of_conv = self.conv(hidden, part(states, "conv"))
        hidden = hidden + mixed
        hidden = self.norm(hidden + 0.5 * self.second_half(hidden))
        return hidden, {**of_attention, **prefixed("conv", of_conv)}


class ConformerEncoder(nn.Module):
    """Waveform to frames, one for each `hop_samples`."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.frontend = CausalFrontEnd(config.front_end)
        self.stem = Subsampling(config)
        self.layers = nn.ModuleList(ConformerBlock(config) for _ in range(config.num_layers))

    @property
    def output_dim(self) -> int:
        """Width of a frame."""
        return self.config.embed_dim

    @property
    def hop_samples(self) -> int:
        """Samples of a frame."""
        return self.config.hop_samples

    def shapes(self) -> Shapes:
        """Of all states."""
        shapes = {
            **prefixed("pcm", self.frontend.shapes()),
            **prefixed("stem", self.stem.shapes()),
            "seen": (self.config.left_frames,),
        }
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, ConformerBlock)
            shapes |= prefixed(f"layer{number}", layer.shapes())
        return shapes

    def stream(self, waveform: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """A piece, (batch, samples: a multiple of hop_samples), and the states before it.

        Returns:
            (batch, samples / hop_samples, output_dim), and the states after it.
        """
        features, of_pcm = self.frontend(waveform, part(states, "pcm"))
        hidden, of_stem = self.stem(features, part(states, "stem"))
        after_it = {
            **prefixed("pcm", of_pcm),
            **prefixed("stem", of_stem),
            "seen": after(states["seen"], hidden.shape[1]),
        }
        for number, layer in enumerate(self.layers):
            name = f"layer{number}"
            hidden, of_layer = layer(hidden, part(states, name), states["seen"])
            after_it |= prefixed(name, of_layer)
        return hidden, after_it

    def forward(self, waveform: Tensor) -> Tensor:
        """A recording, (batch, samples), to (batch, samples // hop_samples, output_dim).

        Frame t depends on no sample from (t + 1) * hop_samples on, so padding behind a recording
        changes none of its frames; samples after the last whole hop are left out.

        Raises:
            ValueError: less than a hop.
        """
        samples, hop = waveform.shape[1], self.hop_samples
        if samples < hop:
            raise ValueError(f"waveform must hold a hop of {hop} samples or more, got {samples}")
        states = initial(self.shapes(), waveform.shape[0], like=waveform)
        frames, _ = self.stream(waveform[:, : samples // hop * hop], states)
        return frames


class Conformer(nn.Module):
    """A keyword body: the mean of the encoder's last frames, at every frame."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConformerEncoder(config)
        self.pool = SlidingMean(config.embed_dim, config.pooled_frames)

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        return self.encoder.output_dim

    @property
    def hop_samples(self) -> int:
        """Samples of a frame."""
        return self.encoder.hop_samples

    @property
    def window_samples(self) -> int:
        """How far back the mean reaches."""
        return self.config.pooled_frames * self.hop_samples

    def shapes(self) -> Shapes:
        """Of all states."""
        return {**self.encoder.shapes(), **prefixed("pool", self.pool.shapes())}

    def stream(self, waveform: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """A piece, (batch, samples: a multiple of hop_samples), and the states before it.

        Returns:
            the mean at each frame, (batch, samples / hop_samples, output_dim), and the states
            after it.
        """
        frames, after_it = self.encoder.stream(waveform, states)
        pooled, of_pool = self.pool(frames, part(states, "pool"))
        return pooled, {**after_it, **prefixed("pool", of_pool)}

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The vector at a recording's last frame.

        Args:
            waveform: (batch, samples).
            lengths: (batch,) samples of each row before its padding, a hop or more; None: all.

        Returns:
            (batch, output_dim).

        Raises:
            ValueError: less than a hop.
        """
        frames = self.encoder(waveform)
        states = initial(self.pool.shapes(), waveform.shape[0], like=waveform)
        pooled: Tensor = self.pool(frames, states)[0]
        if lengths is None:
            return pooled[:, -1]
        if bool((lengths < self.hop_samples).any()):
            raise ValueError(
                f"every recording must hold a hop of {self.hop_samples} samples or more, got "
                f"{int(lengths.min())}"
            )
        rows = torch.arange(len(pooled), device=pooled.device)
        return pooled[rows, lengths.to(pooled.device) // self.hop_samples - 1]
