"""Sizes of the wav2vec 2.0 encoder family, without torch, so that planning stays instant."""

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from .frontend_config import RunningNormConfig

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
class StreamingConfig:
    """How an encoder listens while somebody speaks; it is trained in the same way.

    Frames come in chunks. A frame sees the frames of its own chunk and `left_frames` before that
    chunk, so the first of a chunk looks `chunk_frames - 1` frames ahead and the last looks none.
    Frame t ends at sample (t + 1) * stride, silence before the first sample.
    """

    chunk_frames: int = 8
    """Frames of a chunk, of 20 ms each at the paper's strides; 1 looks at the past alone."""
    left_frames: int = 64
    """Frames before its chunk that a frame's attention sees, 1 or more."""
    running_norm: RunningNormConfig = RunningNormConfig()
    """What stands in for whole utterances where `normalize_waveform` is set."""

    def __post_init__(self) -> None:
        if self.chunk_frames < 1 or self.left_frames < 1:
            raise ValueError(
                f"chunk_frames and left_frames must be 1 or more, got {self.chunk_frames} and "
                f"{self.left_frames}"
            )

    @property
    def look_ahead_frames(self) -> int:
        """Most frames after it that a frame depends on."""
        return self.chunk_frames - 1


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
    streaming: StreamingConfig | None = None
    """In chunks with a bounded past; None: every frame sees the whole utterance. Weights have the
    same names and shapes either way, so that one can start from the other's."""

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
        if self.streaming is not None and (reason := why_not_streaming(self)) is not None:
            raise ValueError(f"this encoder cannot stream: {reason}")

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

    @property
    def window_samples(self) -> int:
        """Samples that a frame's conv features are made of."""
        window, stride = 1, 1
        for conv in self.conv_layers:
            window += (conv.kernel - 1) * stride
            stride *= conv.stride
        return window

    def num_frames(self, num_samples: int) -> int:
        """Encoder frames that `num_samples` of waveform give; 0 when it is too short for one."""
        if self.streaming is not None:  # silence comes first: what counts is where a frame ends
            return num_samples // self.stride_samples
        length = num_samples
        for conv in self.conv_layers:
            length = (length - conv.kernel) // conv.stride + 1
            if length <= 0:
                return 0
        return length


def why_not_streaming(config: Wav2Vec2Config) -> str | None:
    """The first reason why an encoder in pieces would not give what it was trained to give.

    Returns:
        what looks at sound that is still to come, or at all of it, and the way out; None where
        nothing does.
    """
    if config.conv_norm == "group":
        return (
            "the GroupNorm of its feature extractor looks at the whole utterance; train with "
            "conv_norm = 'layer'"
        )
    if config.alibi:
        return "attention biases by distance (alibi) have no streaming form; train without"
    narrow = next((conv for conv in config.conv_layers if conv.kernel < conv.stride), None)
    if narrow is not None:
        return f"no kernel may be shorter than its stride, and one is: {narrow}"
    if config.streaming is not None:
        return None
    train = "train with encoder.streaming set"
    if config.normalize_waveform:
        return f"it normalizes whole utterances; {train}, which normalizes by what was heard so far"
    ahead = (config.pos_conv_kernel - config.pos_conv_kernel // 2 - 1) * config.pos_conv_depth
    if ahead:
        return f"its position convolution looks {ahead} frames ahead; {train}"
    return f"its attention sees the whole utterance; {train}"
