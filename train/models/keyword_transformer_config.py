"""Sizes of the Keyword Transformer, without torch, so that planning stays instant."""

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from .frontend_config import SAMPLE_RATE, preset


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
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
    pool: Literal["class", "mean"] = "class"
    """What a window is summed up by: its class token, or the mean of all tokens. data2vec-KWS takes
    the mean; pretraining gives the class token nothing to say."""
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
        if self.window_frames < 1:
            raise ValueError(
                f"window_samples {self.window_samples} hold no frame of {self.frontend}; take "
                f"{preset(self.frontend).frame_samples} or more"
            )

    @property
    def window_frames(self) -> int:
        """Tokens beside the class token; 98 a second for frames of 30 ms each 10 ms."""
        return preset(self.frontend).num_frames(self.window_samples)

    @property
    def projects(self) -> bool:
        """Whether attention has an output projection."""
        bare = self.num_heads == 1 and self.head_dim == self.embed_dim
        return self.project_single_head or not bare

    def num_frames(self, num_samples: int) -> int:
        """Frames of a recording: those of the window, to which any is filled up or cut."""
        return self.window_frames
