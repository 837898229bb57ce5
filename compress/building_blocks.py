"""The building blocks of a space as modules, each cut from an encoder as the family builds it."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from export.blocks import Block
from export.exportable import Posteriors
from train.models.layers import TransformerLayer
from train.models.wav2vec2 import Wav2Vec2Encoder, normalize_waveform
from train.models.wav2vec2_config import Wav2Vec2Config
from train.seeding import seeded
from train.tasks.bodies import BODIES
from train.tasks.keywords import KeywordModel

from . import CompressError
from .any_space import AnySpace
from .cost.latency import space_blocks
from .cost.model_times import timed_models
from .keyword_spaces import KeywordSpace


def building_blocks(space: AnySpace, window_samples: int) -> Iterator[tuple[str, Block]]:
    """Every distinct block of a space by key, made when it is asked for; weights are random.

    Args:
        space: whose subnets are made of them.
        window_samples: length of the waveform that a device will run.

    Raises:
        CompressError: a window too short for four frames, with which no length stays open, or a
            space whose subnets stream.
    """
    if isinstance(space, KeywordSpace):
        return _keyword_models(space, window_samples)
    if space.supernet.streaming is not None:
        raise CompressError(
            f"subnets of space {space.name!r} stream, and blocks are timed over whole windows; "
            "limit parameters or MACs instead of latency"
        )
    frames = space.supernet.num_frames(window_samples)
    if frames < 4:
        raise CompressError(
            f"a window of {window_samples} samples gives {frames} frames of space "
            f"{space.name!r}; at least 4 are needed. Raise --window-ms."
        )
    return ((key, _block(space.supernet, key, window_samples)) for key in space_blocks(space))


def _keyword_models(space: KeywordSpace, window_samples: int) -> Iterator[tuple[str, Block]]:
    """Some whole models: `cost.model_times` says why.

    Raises:
        CompressError: models of the space judge other windows.
    """
    if window_samples != space.window_samples:
        raise CompressError(
            f"models of space {space.name!r} judge windows of {space.window_samples} samples, got "
            f"{window_samples}; leave --window-ms out"
        )
    labels = tuple(f"label {number}" for number in range(space.num_labels))
    for key, subnet in timed_models(space).items():
        with seeded(0):
            model = KeywordModel(BODIES[space.body].build(space.config(subnet)), labels)
        yield key, Block(Posteriors(model), (1, window_samples))


class Input(nn.Module):
    """What happens to a waveform before the first convolution."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.normalize = config.normalize_waveform

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) to (batch, samples, 1)."""
        if self.normalize:
            waveform = normalize_waveform(waveform)
        return waveform.unsqueeze(2)


class Positions(nn.Module):
    """The position embedding, added, and the network's norm.

    With norms before blocks that norm comes at the network's end: it costs the same there.
    """

    def __init__(self, encoder: Wav2Vec2Encoder) -> None:
        super().__init__()
        self.pos_conv, self.norm = encoder.pos_conv, encoder.norm

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, frames, embed_dim) to the same shape."""
        normed: Tensor = self.norm(hidden + self.pos_conv(hidden))
        return normed


class AttentionHalf(nn.Module):
    """A layer's attention with its residual and its norm."""

    def __init__(self, layer: TransformerLayer) -> None:
        super().__init__()
        self.attention, self.norm = layer.attention, layer.attention_norm
        self.pre_norm = layer.pre_norm

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, frames, embed_dim) to the same shape."""
        if self.pre_norm:
            mixed: Tensor = hidden + self.attention(self.norm(hidden), None)
        else:
            mixed = self.norm(hidden + self.attention(hidden, None))
        return mixed


class FeedForwardHalf(nn.Module):
    """A layer's feed-forward block with its residual and its norm."""

    def __init__(self, layer: TransformerLayer) -> None:
        super().__init__()
        self.ffn, self.norm = layer.ffn, layer.ffn_norm
        self.pre_norm = layer.pre_norm

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, frames, embed_dim) to the same shape."""
        if self.pre_norm:
            mixed: Tensor = hidden + self.ffn(self.norm(hidden))
        else:
            mixed = self.norm(hidden + self.ffn(hidden))
        return mixed


def _block(full: Wav2Vec2Config, key: str, window_samples: int) -> Block:
    kind, *sizes = key.split(".")
    return _BUILDERS[kind](full, window_samples, *(int(size) for size in sizes))


def _input(full: Wav2Vec2Config, window_samples: int) -> Block:
    return Block(Input(full), (1, window_samples))


def _conv(
    full: Wav2Vec2Config, window_samples: int, index: int, in_channels: int, channels: int
) -> Block:
    convs = list(full.conv_layers)
    if index:
        convs[index - 1] = replace(convs[index - 1], channels=in_channels)
    convs[index] = replace(convs[index], channels=channels)
    config = replace(full, conv_layers=tuple(convs))
    length = window_samples
    for conv in convs[:index]:
        length = (length - conv.kernel) // conv.stride + 1
    block = _encoder(config).feature_extractor[index]
    return Block(_with_weights(block), (1, length, in_channels))


def _projection(full: Wav2Vec2Config, window_samples: int, channels: int, embed_dim: int) -> Block:
    convs = (*full.conv_layers[:-1], replace(full.conv_layers[-1], channels=channels))
    encoder = _encoder(replace(full, conv_layers=convs), embed_dim=embed_dim)
    module = nn.Sequential(encoder.feature_norm, encoder.feature_projection)
    return Block(_with_weights(module), (1, full.num_frames(window_samples), channels))


def _positions(full: Wav2Vec2Config, window_samples: int, embed_dim: int) -> Block:
    module = Positions(_encoder(full, embed_dim=embed_dim))
    return Block(_with_weights(module), (1, full.num_frames(window_samples), embed_dim))


def _attention(full: Wav2Vec2Config, window_samples: int, embed_dim: int, heads: int) -> Block:
    module = AttentionHalf(_layer(full, embed_dim, heads=heads))
    return Block(_with_weights(module), (1, full.num_frames(window_samples), embed_dim))


def _ffn(full: Wav2Vec2Config, window_samples: int, embed_dim: int, ffn_dim: int) -> Block:
    module = FeedForwardHalf(_layer(full, embed_dim, ffn_dim=ffn_dim))
    return Block(_with_weights(module), (1, full.num_frames(window_samples), embed_dim))


_BUILDERS: dict[str, Callable[..., Block]] = {
    "input": _input,
    "conv": _conv,
    "projection": _projection,
    "positions": _positions,
    "attention": _attention,
    "ffn": _ffn,
}


def _layer(
    full: Wav2Vec2Config, embed_dim: int, *, heads: int = 1, ffn_dim: int = 1
) -> TransformerLayer:
    encoder = _encoder(full, embed_dim=embed_dim, heads=heads, ffn_dim=ffn_dim)
    layer = encoder.layers[0]
    assert isinstance(layer, TransformerLayer)
    return layer


def _encoder(
    full: Wav2Vec2Config, *, embed_dim: int | None = None, heads: int = 1, ffn_dim: int = 1
) -> Wav2Vec2Encoder:
    """An encoder of one layer, without memory: most of it is thrown away."""
    config = replace(
        full,
        embed_dim=embed_dim or full.embed_dim,
        num_heads=(heads,),
        ffn_dim=(ffn_dim,),
        pos_conv_weight_norm=False,
    )
    with torch.device("meta"):
        return Wav2Vec2Encoder(config)


def _with_weights(module: nn.Module) -> nn.Module:
    """Any numbers, the same ones every time."""
    module = module.to_empty(device="cpu").eval()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(std=0.1, generator=draws)
    return module
