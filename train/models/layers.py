"""Blocks that every encoder of the wav2vec 2.0 family is made of.

Widths are read from the tensors, not from stored numbers, so that a block whose weights were
cut (a subnet, a pruned model) runs as it is.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


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
        batch, frames, _ = hidden.shape

        def heads(projected: Tensor) -> Tensor:
            # (batch, heads, frames, head_dim)
            return projected.view(batch, frames, -1, self.head_dim).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            heads(self.q_proj(hidden)),
            heads(self.k_proj(hidden)),
            heads(self.v_proj(hidden)),
            attn_mask=attend,
            dropout_p=self.dropout if self.training else 0.0,
        )
        mixed = mixed.transpose(1, 2).reshape(batch, frames, -1)  # (batch, frames, inner_dim)
        projected: Tensor = self.out_proj(mixed)
        return projected


class FeedForward(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, embed_dim: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.Linear(embed_dim, ffn_dim)
        self.down = nn.Linear(ffn_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

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
        self.dropout = nn.Dropout(dropout)
        self.pre_norm = pre_norm

    def forward(self, hidden: Tensor, attend: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run the layer.

        Returns:
            the layer's output, and its feed-forward block's output before dropout and residual
            (`layer_result` in fairseq: what data2vec and LightHuBERT take as targets);
            both (batch, frames, embed_dim).
        """
        if self.pre_norm:
            hidden = hidden + self.dropout(self.attention(self.attention_norm(hidden), attend))
            ffn_output = self.ffn(self.ffn_norm(hidden))
            return hidden + self.dropout(ffn_output), ffn_output
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, attend)))
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
        """(batch, in_channels, 1, time) to (batch, channels, 1, shorter time).

        The extra axis lets the tensors lie channels-last in memory: a norm over channels and the
        GELU behind it then run on contiguous rows. Transposing around each norm instead makes a
        training step of the extractor take more than twice as long.
        """
        signal = functional.conv2d(
            signal.contiguous(memory_format=torch.channels_last),
            self.conv.weight.unsqueeze(2),
            self.conv.bias,
            stride=(1, *self.conv.stride),
        )
        if isinstance(self.norm, nn.LayerNorm):
            rows = functional.gelu(self.norm(signal.permute(0, 2, 3, 1)))
            return rows.permute(0, 3, 1, 2)
        if self.norm is not None:
            signal = self.norm(signal)
        return functional.gelu(signal)


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

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, frames, embed_dim) to the embedding to add, of the same shape."""
        positions = self.conv(hidden.transpose(1, 2))
        if self.surplus:
            positions = positions[:, :, : -self.surplus]
        return functional.gelu(positions).transpose(1, 2)


class PositionalConvStack(nn.Module):
    """Relative positions by several narrower convolutions (data2vec, arXiv:2202.03555)."""

    def __init__(self, embed_dim: int, *, kernel: int, groups: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(embed_dim, embed_dim, kernel, padding=kernel // 2, groups=groups)
            for _ in range(depth)
        )
        self.surplus = 1 - kernel % 2

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, frames, embed_dim) to the embedding to add, of the same shape."""
        for conv in self.convs:
            positions = conv(hidden.transpose(1, 2)).transpose(1, 2)
            if self.surplus:
                positions = positions[:, : -self.surplus]
            hidden = functional.gelu(functional.layer_norm(positions, positions.shape[-1:]))
        return hidden


def scale_gradient(tensor: Tensor, factor: float) -> Tensor:
    """Leave the values as they are and multiply the gradient that flows back by `factor`."""
    if factor != 1.0 and tensor.requires_grad and torch.is_grad_enabled():
        tensor = tensor.view_as(tensor)
        tensor.register_hook(lambda gradient: gradient * factor)
    return tensor
