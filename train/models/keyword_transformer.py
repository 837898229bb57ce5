"""Keyword Transformer: a window's MFCC frames as tokens, and a class token that sums them up.

Source: Berg, O'Connor and Cruz, arXiv:2104.00769; sizes and parameter counts of ARM's release
(KWT-1, KWT-2 and KWT-3). It sees whole windows, later frames included; what runs on a stream step
by step is `causal_keyword_transformer`.
"""

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT
from . import cpu_training
from .frontend import SAMPLE_RATE, FrontEnd
from .frontend_config import preset
from .layers import FeedForward


@dataclass(frozen=True, kw_only=True, config=STRICT)
class KeywordTransformerConfig:
    """Sizes; the defaults are KWT-1. KWT-2 is 128, 2 heads and 512; KWT-3 is 192, 3 and 768."""

    frontend: str = "tensorflow-mfcc"
    """A preset of the front end: ARM's; Torch-KWT and data2vec-KWS have `librosa-mfcc`."""
    window_samples: int = SAMPLE_RATE
    """What it looks at: there is a learned position for each frame of these and for no other."""
    embed_dim: int = 64
    """Width of a token."""
    num_heads: int = 1
    """Of every layer."""
    head_dim: int = 64
    """Width of a head."""
    ffn_dim: int = 256
    """Width inside the feed-forward blocks."""
    num_layers: int = 12
    """Transformer layers."""
    pre_norm: bool = False
    """LayerNorm before each block and after the last layer; else after each residual, as ARM's."""
    project_single_head: bool = True
    """Attention of one head as wide as a token has an output projection, too. Torch-KWT, and with
    it data2vec-KWS, has none there: 49,920 parameters of KWT-1."""
    dropout: float = 0.0
    """On the tokens that enter, in [0, 1); ARM trains with 0, Torch-KWT with 0.1."""

    def __post_init__(self) -> None:
        widths = (self.embed_dim, self.num_heads, self.head_dim, self.ffn_dim, self.num_layers)
        if min(widths) < 1:
            raise ValueError(
                "embed_dim, num_heads, head_dim, ffn_dim and num_layers must be 1 or more, got "
                f"{widths}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.num_frames < 1:
            raise ValueError(
                f"window_samples {self.window_samples} hold no frame of {self.frontend}; take "
                f"{preset(self.frontend).frame_samples} or more"
            )

    @property
    def num_frames(self) -> int:
        """Tokens beside the class token; 98 a second for frames of 30 ms each 10 ms."""
        return preset(self.frontend).num_frames(self.window_samples)


class KeywordTransformer(nn.Module):
    """Waveform to one vector: the class token after the last layer."""

    def __init__(self, config: KeywordTransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embed_dim
        self.frontend = FrontEnd(preset(config.frontend))
        self.patch = nn.Linear(self.frontend.config.output_dim, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + config.num_frames, width))
        self.dropout = cpu_training.Dropout(config.dropout)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width) if config.pre_norm else nn.Identity()
        for learned in (self.class_token, self.positions):
            nn.init.trunc_normal_(learned, std=0.02)

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        return self.config.embed_dim

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) to (batch, embed_dim).

        It answers for the last `window_samples`: silence goes before what is shorter, and of what
        is longer the beginning is left out. `lengths` is not needed: padding is silence.
        """
        num_samples = self.config.window_samples
        window = functional.pad(waveform, (num_samples, 0))[:, -num_samples:]
        frames = self.patch(self.frontend(window))  # (batch, frames, embed_dim)
        first = self.class_token.expand(frames.shape[0], -1, -1)
        hidden = self.dropout(torch.cat([first, frames], dim=1) + self.positions)
        for layer in self.layers:
            hidden = layer(hidden)
        vector: Tensor = self.norm(hidden[:, 0])
        return vector


class _Layer(nn.Module):
    """Attention and feed-forward with residuals, LayerNorm before or after each."""

    def __init__(self, config: KeywordTransformerConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.attention_norm = nn.LayerNorm(config.embed_dim)
        self.ffn = FeedForward(config.embed_dim, config.ffn_dim, dropout=0.0)
        self.ffn_norm = nn.LayerNorm(config.embed_dim)
        self.pre_norm = config.pre_norm

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, tokens, embed_dim) to the same shape."""
        after_it: Tensor
        if self.pre_norm:
            hidden = hidden + self.attention(self.attention_norm(hidden))
            after_it = hidden + self.ffn(self.ffn_norm(hidden))
        else:
            # Torch-KWT's "post-norm" is LN(block(x)) + x; this is LN(x + block(x)), the paper's.
            hidden = self.attention_norm(hidden + self.attention(hidden))
            after_it = self.ffn_norm(hidden + self.ffn(hidden))
        return after_it


class _Attention(nn.Module):
    """Self-attention over all tokens; queries, keys and values have no bias."""

    def __init__(self, config: KeywordTransformerConfig) -> None:
        super().__init__()
        width, inner_dim = config.embed_dim, config.num_heads * config.head_dim
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(width, inner_dim, bias=False)
        self.k_proj = nn.Linear(width, inner_dim, bias=False)
        self.v_proj = nn.Linear(width, inner_dim, bias=False)
        bare = not config.project_single_head and config.num_heads == 1 and inner_dim == width
        self.out_proj = nn.Identity() if bare else nn.Linear(inner_dim, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, tokens, embed_dim) to the same shape."""
        batch, tokens, _ = hidden.shape

        def heads(projected: Tensor) -> Tensor:
            # (batch, heads, tokens, head_dim)
            return projected.view(batch, tokens, -1, self.head_dim).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            heads(self.q_proj(hidden)), heads(self.k_proj(hidden)), heads(self.v_proj(hidden))
        )
        projected: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        return projected
