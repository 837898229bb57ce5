"""Blocks that every encoder of the wav2vec 2.0 family is made of.

Widths are read from the tensors, not from stored numbers, so that a block whose weights were
cut (a subnet, a pruned model) runs as it is.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import cpu_training


class SelfAttention(nn.Module):
    """Multi-head self-attention with separate, biased projections.

    Its inner width is `num_heads * head_dim`, whatever `embed_dim` is.
    """

    def __init__(self, embed_dim: int, num_heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.dropout = dropout
        inner_dim = num_heads * head_dim
        self.q_proj = nn.Linear(embed_dim, inner_dim)
        self.k_proj = nn.Linear(embed_dim, inner_dim)
        self.v_proj = nn.Linear(embed_dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, embed_dim)

    def forward(self, hidden: Tensor, attend: Tensor | None) -> Tensor:
        """Mix frames.

        Args:
            hidden: (batch, frames, embed_dim).
            attend: bool (batch, 1, 1, frames), True where a key may be looked at, or float
                (batch, heads, frames, frames), added to the scores; None: all.

        Returns:
            (batch, frames, embed_dim).
        """
        query, key, value = self.q_proj(hidden), self.k_proj(hidden), self.v_proj(hidden)
        return self.mix(query, key, value, attend)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, attend: Tensor | None) -> Tensor:
        """What `forward` does with its projections; keys may be of more frames than queries.

        Args:
            query: (batch, frames, inner_dim).
            key: (batch, keys, inner_dim).
            value: as `key`.
            attend: as for `forward`, its last axis as long as the keys.

        Returns:
            (batch, frames, embed_dim).
        """
        batch, frames, _ = query.shape

        def heads(projected: Tensor) -> Tensor:
            # (batch, heads, frames, head_dim)
            return projected.view(batch, projected.shape[1], -1, self.head_dim).transpose(1, 2)

        query, key, value = heads(query), heads(key), heads(value)
        if self.training and self.dropout and query.device.type == "cpu":
            mixed = self._attend_with_dropout(query, key, value, attend)
        else:
            mixed = functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=attend,
                dropout_p=self.dropout if self.training else 0.0,
            )
        mixed = mixed.transpose(1, 2).reshape(batch, frames, -1)  # (batch, frames, inner_dim)
        projected: Tensor = self.out_proj(mixed)
        return projected

    def _attend_with_dropout(
        self, query: Tensor, key: Tensor, value: Tensor, attend: Tensor | None
    ) -> Tensor:
        """What torch's function does too, which has no fused form with dropout on a CPU."""
        scores = query * self.head_dim**-0.5 @ key.transpose(2, 3)
        if attend is not None:
            lowest = torch.finfo(scores.dtype).min
            if attend.dtype == torch.bool:
                scores = scores.masked_fill(~attend, lowest)
            else:  # a row without a key must not become a number that spoils every weight
                scores = (scores + attend).clamp_min(lowest)
        return cpu_training.dropout(scores.softmax(-1), self.dropout) @ value


class FeedForward(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, embed_dim: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.Linear(embed_dim, ffn_dim)
        self.down = nn.Linear(ffn_dim, embed_dim)
        self.dropout = cpu_training.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, frames, embed_dim) to the same shape."""
        projected: Tensor = self.down(self.dropout(functional.gelu(self.up(hidden))))
        return projected


class TransformerLayer(nn.Module):
    """Attention and feed-forward with residuals, LayerNorm before or after each."""

    def __init__(
        self,
        *,
        embed_dim: int,
        num_heads: int,
        head_dim: int,
        ffn_dim: int,
        dropout: float,
        attention_dropout: float,
        activation_dropout: float,
        pre_norm: bool,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(embed_dim, num_heads, head_dim, attention_dropout)
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.ffn = FeedForward(embed_dim, ffn_dim, activation_dropout)
        self.ffn_norm = nn.LayerNorm(embed_dim)
        self.dropout = cpu_training.Dropout(dropout)
        self.pre_norm = pre_norm

    def forward(self, hidden: Tensor, attend: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run the layer.

        Returns:
            the layer's output, and its feed-forward block's output before dropout and residual
            (`layer_result` in fairseq: what data2vec and LightHuBERT take as targets);
            both (batch, frames, embed_dim).
        """
        return self.around(hidden, lambda inner: self.attention(inner, attend))

    def around(
        self, hidden: Tensor, attention: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What `forward` does, with frames mixed by `attention`, of the shape of its argument."""
        if self.pre_norm:
            hidden = hidden + self.dropout(attention(self.attention_norm(hidden)))
            ffn_output = self.ffn(self.ffn_norm(hidden))
            return hidden + self.dropout(ffn_output), ffn_output
        hidden = self.attention_norm(hidden + self.dropout(attention(hidden)))
        ffn_output = self.ffn(hidden)
        return self.ffn_norm(hidden + self.dropout(ffn_output)), ffn_output


class ConvBlock(nn.Module):
    """Convolution, norm over channels (or over time, or none), exact GELU."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        kernel: int,
        stride: int,
        bias: bool,
        norm: nn.Module | None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, channels, kernel, stride=stride, bias=bias)
        self.norm = norm

    def forward(self, signal: Tensor) -> Tensor:
        """(batch, time, in_channels) to (batch, shorter time, channels).

        Time comes before channels: a norm over channels and the GELU then run on contiguous rows.
        """
        conv = self.conv
        fast = self.training and cpu_training.multiplies(signal)
        if fast and signal.shape[2] > 1:  # a waveform's windows are too narrow for products
            signal = cpu_training.strided_conv(signal, conv.weight, conv.stride[0])
            if conv.bias is not None:
                signal = signal + conv.bias
        else:
            signal = channels_last_conv(signal, conv.weight, conv.bias, stride=conv.stride[0])
        if isinstance(self.norm, nn.GroupNorm):
            if fast:
                return cpu_training.time_norm_gelu(
                    signal, self.norm.weight, self.norm.bias, self.norm.eps
                )
            signal = self.norm(_as_image(signal)).squeeze(2).transpose(1, 2)
        elif self.norm is not None:
            signal = self.norm(signal)
        return functional.gelu(signal)


def channels_last_conv(
    signal: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> Tensor:
    """(batch, time, in_channels) to (batch, time, channels), as an image that is one pixel high.

    Only images may lie channels-last in memory, and torch's CPU convolutions prefer that.
    """
    mixed = functional.conv2d(
        _as_image(signal),
        # copied once here instead of in every pass
        weight.unsqueeze(2).contiguous(memory_format=torch.channels_last),
        bias,
        stride=(1, stride),
        padding=(0, padding),
        groups=groups,
    )
    return mixed.squeeze(2).transpose(1, 2)


def _as_image(signal: Tensor) -> Tensor:
    """(batch, time, channels) to (batch, channels, 1, time), where it lies."""
    return signal.transpose(1, 2).unsqueeze(2).contiguous(memory_format=torch.channels_last)


class PositionalConv(nn.Module):
    """Relative positions by a wide grouped convolution (wav2vec 2.0, section 2)."""

    def __init__(self, embed_dim: int, *, kernel: int, groups: int, weight_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(embed_dim, embed_dim, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(self.conv.weight, std=(4.0 / (kernel * embed_dim)) ** 0.5)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        if weight_norm:
            # One gain for each tap of the kernel: the norm runs over the other two axes.
            self.conv = nn.utils.parametrizations.weight_norm(self.conv, dim=2)
        self.surplus = 1 - kernel % 2
        """An even kernel with padding on both sides gives one frame too many."""

    def forward(self, hidden: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(batch, frames, embed_dim), zeros in the padding, to the embedding to add.

        One convolution reads what it is given: `padding_mask` is for the stack below.
        """
        conv = self.conv
        positions = channels_last_conv(
            hidden, conv.weight, conv.bias, padding=conv.kernel_size[0] // 2, groups=conv.groups
        )
        if self.surplus:
            positions = positions[:, : -self.surplus]
        return functional.gelu(positions)


class PositionalConvStack(nn.Module):
    """Relative positions by several narrower convolutions (data2vec, arXiv:2202.03555)."""

    def __init__(self, embed_dim: int, *, kernel: int, groups: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(embed_dim, embed_dim, kernel, padding=kernel // 2, groups=groups)
            for _ in range(depth)
        )
        self.surplus = 1 - kernel % 2

    def forward(self, hidden: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(batch, frames, embed_dim) to the embedding to add, of the same shape.

        Padding, True in bool (batch, frames), is zeroed before every convolution, not before the
        first alone as in fairseq and transformers: there it leaks into the frames beside it.
        """
        for conv in self.convs:
            positions = conv(hidden.transpose(1, 2)).transpose(1, 2)
            if self.surplus:
                positions = positions[:, : -self.surplus]
            hidden = functional.gelu(functional.layer_norm(positions, positions.shape[-1:]))
            if padding_mask is not None:
                hidden = hidden.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        return hidden


def scale_gradient(tensor: Tensor, factor: float) -> Tensor:
    """Leave the values as they are and multiply the gradient that flows back by `factor`."""
    if factor != 1.0 and tensor.requires_grad and torch.is_grad_enabled():
        tensor = tensor.view_as(tensor)
        tensor.register_hook(lambda gradient: gradient * factor)
    return tensor
