"""Sizes of the wav2vec 2.0 encoder family, without torch, so that planning stays instant."""

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

_CHECKED = ConfigDict(extra="forbid", arbitrary_types_allowed=False)

SIZES = (
    "conv_layers", "conv_norm", "conv_bias", "normalize_waveform", "embed_dim", "num_heads",
    "ffn_dim", "head_dim", "pos_conv_kernel", "pos_conv_groups", "pos_conv_depth",
    "pos_conv_weight_norm", "alibi", "pre_norm",
)  # fmt: skip
"""What two encoders must have in common for one's weights to serve the other."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Conv:
    """One layer of the convolutional feature extractor."""

    channels: int
    kernel: int
    stride: int

    def __post_init__(self) -> None:
        if min(self.channels, self.kernel, self.stride) < 1:
            raise ValueError(f"channels, kernel and stride must be 1 or more, got {self}")


def paper_conv_layers(channels: int) -> tuple[Conv, ...]:
    """Seven layers, 320 samples of stride, 400 of receptive field (wav2vec 2.0, section 4.2)."""
    return _conv_layers((channels,) * 7)


def tiny_conv_layers() -> tuple[Conv, ...]:
    """The paper's strides at 32 channels, 64 from the third layer on.

    The first two layers run at 3,200 and 1,600 frames a second: on a CPU they are most of the time.
    """
    return _conv_layers((32, 32, 64, 64, 64, 64, 64))


def _conv_layers(channels: tuple[int, ...]) -> tuple[Conv, ...]:
    shapes = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
    return tuple(
        Conv(channels=width, kernel=kernel, stride=stride)
        for width, (kernel, stride) in zip(channels, shapes, strict=True)
    )


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Wav2Vec2Config:
    """An encoder of the family; the defaults are HuBERT Base (arXiv:2106.07447, table 1)."""

    conv_layers: tuple[Conv, ...] = paper_conv_layers(512)
    """Feature extractor, first layer first."""
    conv_norm: Literal["group", "layer"] = "group"
    """`group`: one GroupNorm after the first layer; `layer`: a LayerNorm after each."""
    conv_bias: bool = False
    """Biases in the feature extractor; only wav2vec 2.0 LV-60 has them."""
    normalize_waveform: bool = False
    """Bring each utterance to zero mean and unit variance first; goes with `layer`."""
    embed_dim: int = 768
    """Width of the transformer."""
    num_heads: tuple[int, ...] = (12,) * 12
    """Attention heads of each layer; the length is the depth."""
    ffn_dim: tuple[int, ...] = (3072,) * 12
    """Hidden width of each layer's feed-forward block; as long as `num_heads`."""
    head_dim: int = 64
    """Width of a head, independent of `embed_dim`, so that heads can be cut alone."""
    pos_conv_kernel: int = 128
    """Kernel of the convolutional position embedding, in frames."""
    pos_conv_groups: int = 16
    """Its groups; `embed_dim` is a multiple of them."""
    pos_conv_depth: int = 1
    """Convolutions of the position embedding; data2vec stacks 5, a plain LayerNorm after each."""
    pos_conv_weight_norm: bool = True
    """Weight-normalized while training; a materialized model has the product folded in."""
    alibi: bool = False
    """Attention biases by distance with a learned scale for each head, as in data2vec 2.0."""
    mask_embedding: bool = True
    """A vector that stands for hidden frames; data2vec 2.0 leaves them out instead."""
    pre_norm: bool = False
    """LayerNorm before each block (Large, X-Large) rather than after it (Base)."""
    dropout: float = 0.1
    """After attention, feed-forward and the position embedding, in [0, 1)."""
    attention_dropout: float = 0.1
    """On attention weights, in [0, 1)."""
    activation_dropout: float = 0.0
    """Inside the feed-forward block, in [0, 1)."""
    input_dropout: float = 0.1
    """On the projected features, in [0, 1)."""
    layerdrop: float = 0.05
    """Share of layers skipped at a training step, in [0, 1)."""
    feature_grad_mult: float = 0.1
    """The feature extractor's gradient is scaled by this, in (0, 1]."""

    def __post_init__(self) -> None:
        if not self.conv_layers:
            raise ValueError("conv_layers must hold one layer or more")
        if len(self.num_heads) != len(self.ffn_dim) or not self.num_heads:
            raise ValueError(
                f"num_heads and ffn_dim must list the same number of layers, one or more; "
                f"got {len(self.num_heads)} and {len(self.ffn_dim)}"
            )
        if min(*self.num_heads, *self.ffn_dim, self.embed_dim, self.head_dim) < 1:
            raise ValueError("embed_dim, head_dim, num_heads and ffn_dim must be 1 or more")
        if self.embed_dim % self.pos_conv_groups:
            raise ValueError(
                f"embed_dim {self.embed_dim} must be a multiple of "
                f"pos_conv_groups {self.pos_conv_groups}"
            )
        if self.pos_conv_depth < 1 or self.pos_conv_kernel < 1:
            raise ValueError("pos_conv_depth and pos_conv_kernel must be 1 or more")
        if self.pos_conv_depth > 1 and self.pos_conv_weight_norm:
            raise ValueError("a stack of position convolutions has no weight norm: say so")
        if self.alibi and len(set(self.num_heads)) > 1:
            raise ValueError(
                f"alibi has one scale a head for all layers: num_heads must be equal, got "
                f"{self.num_heads}"
            )
        for name in ("dropout", "attention_dropout", "activation_dropout", "input_dropout",
                     "layerdrop"):  # fmt: skip
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not 0.0 < self.feature_grad_mult <= 1.0:
            raise ValueError(f"feature_grad_mult must lie in (0, 1], got {self.feature_grad_mult}")

    @property
    def num_layers(self) -> int:
        """Transformer layers."""
        return len(self.num_heads)

    @property
    def stride_samples(self) -> int:
        """Samples from one frame to the next."""
        stride = 1
        for conv in self.conv_layers:
            stride *= conv.stride
        return stride

    def num_frames(self, num_samples: int) -> int:
        """Encoder frames that `num_samples` of waveform give; 0 when it is too short for one."""
        length = num_samples
        for conv in self.conv_layers:
            length = (length - conv.kernel) // conv.stride + 1
            if length <= 0:
                return 0
        return length
