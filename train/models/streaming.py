"""Layers that run on a stream in pieces, each piece handing its state to the next.

One way through each layer: a whole recording is a single piece that begins with the initial state,
a step of a stream is a short one. So what is trained is what runs, and cutting a recording anywhere
changes nothing. States are float tensors of fixed shapes, zeros before the first piece; there is
no integer arithmetic and no control flow that depends on data, so a step exports to any format.
"""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

Shapes = dict[str, tuple[int, ...]]
"""Of each state by its name, without the batch."""
States = dict[str, Tensor]
"""(batch, *shape) of each state by its name."""

HIDDEN = -1e4
"""Added to a score that nobody may see: its weight is 0 in float32, and 8 bits can hold it."""


def initial(shapes: Shapes, batch: int, *, like: Tensor) -> States:
    """States of streams that have heard nothing: zeros, of the kind of `like`."""
    return {name: like.new_zeros(batch, *shape) for name, shape in shapes.items()}


def part(states: Mapping[str, Tensor], prefix: str) -> States:
    """The states of one layer, whose names in its model begin with `prefix` and an underscore."""
    start = f"{prefix}_"
    return {
        name.removeprefix(start): state for name, state in states.items() if name.startswith(start)
    }


_Value = TypeVar("_Value")


def prefixed(prefix: str, named: Mapping[str, _Value]) -> dict[str, _Value]:
    """A layer's shapes or states under the names that they have in its model."""
    return {f"{prefix}_{name}": value for name, value in named.items()}


class Tail(nn.Module):
    """What was heard last, put before what comes: a convolution over both never looks ahead."""

    def __init__(self, channels: int, length: int) -> None:
        """Remember.

        Args:
            channels: of the signal.
            length: places to keep, 0 or more; a kernel's reach less its stride.
        """
        super().__init__()
        self.channels, self.length = channels, length

    def shapes(self) -> Shapes:
        """Of the state."""
        return {"tail": (self.channels, self.length)} if self.length else {}

    def forward(self, signal: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """(batch, channels, time) to (batch, channels, length + time), and the states after it."""
        if not self.length:
            return signal, {}
        signal = torch.cat([states["tail"], signal], dim=2)
        return signal, {"tail": signal[:, :, -self.length :]}


class CausalConv1d(nn.Module):
    """A convolution over the past: silence, zeros, lies before the first sample."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        """Make.

        Args:
            in_channels: of the signal.
            out_channels: of the result.
            kernel: taps; their reach, dilation * (kernel - 1) + 1, is no shorter than the stride.
            stride: places from one result to the next; every piece is a multiple of it.
            dilation: places from tap to tap.
            groups: of channels.
            bias: add one.
        """
        super().__init__()
        self.conv = nn.Conv1d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.past = Tail(in_channels, dilation * (kernel - 1) + 1 - stride)

    def shapes(self) -> Shapes:
        """Of the state."""
        return self.past.shapes()

    def forward(self, signal: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """(batch, in_channels, time) to (batch, out_channels, time / stride), and the states."""
        signal, after_it = self.past(signal, states)
        return self.conv(signal), after_it


class BoundedAttention(nn.Module):
    """Self-attention that sees the present frame and `left_frames` before it.

    Positions are a learned bias for each head and distance. Keys and values of the frames before
    are the state; `seen`, shared by all layers of a model, says which of them were ever heard.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, head_dim: int, left_frames: int, *, bias: bool = True
    ) -> None:
        """Make.

        Args:
            embed_dim: width of the frames.
            num_heads: heads.
            head_dim: width of a head.
            left_frames: frames before the present one that it sees, 1 or more.
            bias: of the projections.
        """
        super().__init__()
        self.head_dim, self.left_frames = head_dim, left_frames
        inner_dim = num_heads * head_dim
        self.q_proj = nn.Linear(embed_dim, inner_dim, bias=bias)
        self.k_proj = nn.Linear(embed_dim, inner_dim, bias=bias)
        self.v_proj = nn.Linear(embed_dim, inner_dim, bias=bias)
        self.qkv_proj: nn.Linear | None = None
        """In place of the three, once they are merged."""
        self.out_proj = nn.Linear(inner_dim, embed_dim)
        self.distance_bias = nn.Parameter(torch.zeros(num_heads, left_frames + 1))
        """By how many frames ago, the present one first."""

    def shapes(self) -> Shapes:
        """Of keys and values before this piece, head by head, oldest first; the keys come first."""
        return {"memory": (2 * self.heads, self.left_frames, self.head_dim)}

    def forward(
        self, hidden: Tensor, states: Mapping[str, Tensor], seen: Tensor
    ) -> tuple[Tensor, States]:
        """Mix frames.

        Args:
            hidden: (batch, frames, embed_dim).
            states: as `shapes`.
            seen: (batch, left_frames), 1 where those were heard and 0 where nothing was yet.

        Returns:
            (batch, frames, embed_dim), and the states after it.
        """
        batch, frames, _ = hidden.shape
        heads = self.heads
        # Three times as many heads in one: few and large operations are what a step is fast by.
        projected = self._projected(hidden).reshape(batch, frames, 3 * heads, self.head_dim)
        query, new = projected.transpose(1, 2).split([heads, 2 * heads], dim=1)
        memory = torch.cat([states["memory"], new], dim=2)  # (batch, 2 heads, left + frames, dim)
        keys, values = memory.chunk(2, dim=1)
        scores = query @ keys.transpose(2, 3)  # (batch, heads, frames, left + frames)
        unheard = functional.pad((1.0 - seen) * HIDDEN, (0, frames))
        scores = scores + self._band(frames) + unheard[:, None, None, :]
        mixed = (scores.softmax(-1) @ values).transpose(1, 2).reshape(batch, frames, -1)
        return self.out_proj(mixed), {"memory": memory[:, :, -self.left_frames :]}

    def merge(self) -> None:
        """Project by one matrix in place of three from now on; for copies that only run.

        The layer then gives the same, and its weights have other names than a checkpoint's.
        """
        merged = nn.Linear(self.q_proj.in_features, 3 * self.q_proj.out_features)
        with torch.no_grad():
            self.qkv_proj = merged.to(self.distance_bias)
            for name, value in merged.named_parameters():
                parts = [getattr(layer, name) for layer in (self.q_proj, self.k_proj, self.v_proj)]
                if parts[0] is None:
                    value.zero_()
                else:
                    value.copy_(torch.cat([parts[0] * self.head_dim**-0.5, *parts[1:]]))
        del self.q_proj, self.k_proj, self.v_proj

    def _projected(self, hidden: Tensor) -> Tensor:
        """Queries, scaled, keys and values: (batch, frames, 3 * inner)."""
        if self.qkv_proj is not None:
            merged: Tensor = self.qkv_proj(hidden)
            return merged
        query = self.q_proj(hidden) * self.head_dim**-0.5
        return torch.cat([query, self.k_proj(hidden), self.v_proj(hidden)], dim=2)

    @property
    def heads(self) -> int:
        """Attention heads, read from the tensor: a cut layer has fewer."""
        return self.distance_bias.shape[0]

    def _band(self, frames: int) -> Tensor:
        """(heads, frames, left + frames): the bias of each distance, and what is out of sight."""
        left = self.left_frames
        device = self.distance_bias.device
        now = torch.arange(left, left + frames, device=device).unsqueeze(1)
        ago = now - torch.arange(left + frames, device=device)  # (frames, left + frames)
        in_sight = (ago >= 0) & (ago <= left)
        bias = self.distance_bias[:, ago.clamp(0, left)]
        return torch.where(in_sight, bias, bias.new_tensor(HIDDEN))


def after(seen: Tensor, frames: int) -> Tensor:
    """`seen` once `frames` more were heard: (batch, left_frames)."""
    return functional.pad(seen, (0, frames), value=1.0)[:, -seen.shape[1] :]


class SlidingMean(nn.Module):
    """The mean of the last frames that were heard, at most `frames` of them."""

    def __init__(self, dim: int, frames: int) -> None:
        """Make.

        Args:
            dim: width of a frame.
            frames: to average, 2 or more.
        """
        super().__init__()
        self.dim, self.frames = dim, frames

    def shapes(self) -> Shapes:
        """Of the state: frames, and a place in each that says that it was heard."""
        return {"tail": (self.frames - 1, self.dim + 1)}

    def forward(self, hidden: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """(batch, frames, dim) to the mean at each of these frames, and the states after them."""
        heard = torch.cat([states["tail"], functional.pad(hidden, (0, 1), value=1.0)], dim=1)
        frames = hidden.shape[1]
        # A product with ones and zeros: engines pool a few places several times slower.
        ends = torch.arange(self.frames - 1, self.frames - 1 + frames, device=hidden.device)
        ago = ends.unsqueeze(1) - torch.arange(self.frames - 1 + frames, device=hidden.device)
        sums = ((ago >= 0) & (ago < self.frames)).to(hidden.dtype) @ heard
        return sums[..., :-1] / sums[..., -1:], {"tail": heard[:, -(self.frames - 1) :]}


def chunk_ends(frames: Tensor, chunk_frames: int) -> Tensor:
    """The last of every chunk: (batch, frames, dim) to (batch, frames / chunk_frames, dim)."""
    return frames[:, chunk_frames - 1 :: chunk_frames]
