"""The passes of an encoder with `config.streaming`: in chunks, over a whole recording or a piece.

One way through: a whole recording is a single piece that begins with states of zeros, a step of a
stream is a short one. So what is trained is what runs. Nothing here has weights: these functions
work with the encoder's own modules, whose names and shapes are those of every encoder of the
family. Widths are read from the weights, so that a subnet in place streams, too.

States are (batch, frames before, width), oldest first. Notation for shapes: batch, frames at 50 Hz,
embed_dim; a piece holds whole chunks.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import (
    ConvBlock,
    PositionalConv,
    PositionalConvStack,
    TransformerLayer,
    channels_last_conv,
    scale_gradient,
)
from .streaming import HIDDEN, Shapes, States, after, initial
from .wav2vec2_config import StreamingConfig

if TYPE_CHECKING:
    from .context import ContextNetwork, ContextOutput
    from .wav2vec2 import Wav2Vec2Encoder


def chunks_of(network: "ContextNetwork") -> StreamingConfig:
    """How a network listens.

    Raises:
        ValueError: it hears whole utterances.
    """
    streaming = network.config.streaming
    if streaming is None:
        raise ValueError(
            "this encoder hears whole utterances; give its config a StreamingConfig to stream"
        )
    return streaming


def extractor_shapes(encoder: "Wav2Vec2Encoder") -> Shapes:
    """Of the states of the feature extractor: running norm, and the tail before each kernel."""
    shapes: Shapes = {} if encoder.running_norm is None else {"norm": (3,)}
    for index, block in enumerate(encoder.feature_extractor):
        conv = _conv_of(block)
        if tail := conv.kernel_size[0] - conv.stride[0]:
            shapes[f"conv_{index}"] = (tail, conv.weight.shape[1])
    return shapes


def extract(
    encoder: "Wav2Vec2Encoder", waveform: Tensor, states: Mapping[str, Tensor]
) -> tuple[Tensor, States]:
    """Conv features of a piece.

    Args:
        encoder: with `config.streaming`.
        waveform: (batch, samples) in [-1, 1]; of the last piece any number, before it a multiple
            of the encoder's stride.
        states: as `extractor_shapes`.

    Returns:
        (batch, samples // stride, channels), and the states after it.
    """
    after_it: States = {}
    if encoder.running_norm is not None:
        # A state of zeros is a stream that heard nothing: the prior is what it differs from.
        prior = encoder.running_norm.initial_state(len(waveform), like=waveform)
        waveform, heard = encoder.running_norm(waveform, states["norm"] + prior)
        after_it["norm"] = heard - prior
    signal = waveform.unsqueeze(2)  # (batch, time, channels)
    for index, block in enumerate(encoder.feature_extractor):
        conv = _conv_of(block)
        if conv.kernel_size[0] > conv.stride[0]:
            name = f"conv_{index}"
            signal, after_it[name] = _joined(states[name], signal)
        signal = block(signal)
    return scale_gradient(signal, encoder.config.feature_grad_mult), after_it


def context_shapes(network: "ContextNetwork") -> Shapes:
    """Of the states of positions and layers."""
    left = chunks_of(network).left_frames
    shapes: Shapes = {"seen": (left,)}
    for index, conv in enumerate(_convs(network.pos_conv)):
        if past := conv.kernel_size[0] // 2:
            shapes[f"position_{index}"] = (past, conv.weight.shape[0])
    for index, layer in enumerate(network.layers):
        assert isinstance(layer, TransformerLayer)
        inner_dim = layer.attention.k_proj.weight.shape[0]
        shapes[f"layer_{index}_keys"] = shapes[f"layer_{index}_values"] = (left, inner_dim)
    return shapes


def contextualize(
    network: "ContextNetwork",
    projected: Tensor,
    states: Mapping[str, Tensor],
    padding_mask: Tensor | None = None,
) -> tuple["ContextOutput", States]:
    """Let the frames of a piece look at each other and at the frames before.

    Args:
        network: with `config.streaming`.
        projected: (batch, frames, embed_dim), whole chunks.
        states: as `context_shapes`.
        padding_mask: bool (batch, frames), True = padding, of a piece after which none comes.

    Returns:
        hidden states and feed-forward outputs, and the states after it.
    """
    streaming = chunks_of(network)
    placed, after_it = _place(network, projected, states, padding_mask)
    frames = placed.shape[1]
    attend = _in_sight(streaming, frames, states["seen"], padding_mask).to(placed.dtype)
    after_it["seen"] = after(states["seen"], frames)

    def run(index: int, layer: TransformerLayer, hidden: Tensor) -> tuple[Tensor, Tensor]:
        attention = layer.attention

        def with_the_past(inner: Tensor) -> Tensor:
            keys, values = f"layer_{index}_keys", f"layer_{index}_values"
            key, after_it[keys] = _joined(states[keys], attention.k_proj(inner))
            value, after_it[values] = _joined(states[values], attention.v_proj(inner))
            return attention.mix(attention.q_proj(inner), key, value, attend)

        return layer.around(hidden, with_the_past)

    return network.transform(placed, run), after_it


def contextualize_whole(
    network: "ContextNetwork", projected: Tensor, padding_mask: Tensor | None
) -> "ContextOutput":
    """Let the frames of whole recordings look at each other, the last chunk cut short or not.

    Args:
        network: with `config.streaming`.
        projected: (batch, frames, embed_dim).
        padding_mask: bool (batch, frames), True = padding; None where nothing is.
    """
    batch, frames, _ = projected.shape
    missing = -frames % chunks_of(network).chunk_frames
    if missing:
        if padding_mask is None:
            padding_mask = projected.new_zeros(batch, frames, dtype=torch.bool)
        padding_mask = functional.pad(padding_mask, (0, missing), value=True)
        projected = functional.pad(projected, (0, 0, 0, missing))
    states = initial(context_shapes(network), batch, like=projected)
    output, _ = contextualize(network, projected, states, padding_mask)
    if not missing:
        return output
    return replace(
        output,
        hidden_states=tuple(hidden[:, :frames] for hidden in output.hidden_states),
        ffn_outputs=tuple(hidden[:, :frames] for hidden in output.ffn_outputs),
    )


def _place(
    network: "ContextNetwork",
    projected: Tensor,
    states: Mapping[str, Tensor],
    padding_mask: Tensor | None,
) -> tuple[Tensor, States]:
    """What enters layer 1, and the states of the positions; arguments as for `contextualize`."""

    def without_padding(hidden: Tensor) -> Tensor:
        if padding_mask is None:
            return hidden
        return hidden.masked_fill(padding_mask.unsqueeze(-1), 0.0)

    chunk_frames = chunks_of(network).chunk_frames
    projected = hidden = without_padding(projected)
    after_it: States = {}
    stacked = not isinstance(network.pos_conv, PositionalConv)
    for index, conv in enumerate(_convs(network.pos_conv)):
        name = f"position_{index}"
        if conv.kernel_size[0] > 1:
            heard, after_it[name] = _joined(states[name], hidden)
        else:
            heard = hidden
        hidden = _position(conv, heard, hidden, chunk_frames)
        if stacked:
            hidden = functional.layer_norm(hidden, hidden.shape[-1:])
        hidden = without_padding(functional.gelu(hidden))
    return network.enter(projected + hidden), after_it


def _position(conv: nn.Conv1d, heard: Tensor, hidden: Tensor, chunk_frames: int) -> Tensor:
    """A position convolution that sees its past, and of what comes the frames of its own chunk.

    Every tap keeps its distance, so that weights that were trained on whole utterances mean here
    what they meant there; taps beyond the chunk's end find zeros, as at an utterance's end.

    Args:
        conv: of an odd or even kernel, its middle at kernel // 2.
        heard: (batch, kernel // 2 + frames, embed_dim), the frames with those before them.
        hidden: (batch, frames, embed_dim), the frames.
        chunk_frames: of a chunk.

    Returns:
        (batch, frames, embed_dim).
    """
    weight, bias, groups = conv.weight, conv.bias, conv.groups  # a weight norm's product, once
    batch, frames, dim = hidden.shape
    middle = conv.kernel_size[0] // 2
    positions = channels_last_conv(heard, weight[:, :, : middle + 1], bias, groups=groups)
    ahead = min(chunk_frames, conv.kernel_size[0] - middle) - 1
    if ahead < 1:
        return positions
    chunks = hidden.reshape(batch * (frames // chunk_frames), chunk_frames, dim)
    chunks = functional.pad(chunks[:, 1:], (0, 0, 0, ahead))  # frame t reads t + 1 and on
    taps = weight[:, :, middle + 1 : middle + 1 + ahead]
    coming = channels_last_conv(chunks, taps, None, groups=groups)
    return positions + coming.reshape(batch, frames, dim)


def _convs(positions: nn.Module) -> list[nn.Conv1d]:
    if isinstance(positions, PositionalConv):
        return [positions.conv]
    assert isinstance(positions, PositionalConvStack)
    return [conv for conv in positions.convs if isinstance(conv, nn.Conv1d)]


def _conv_of(block: nn.Module) -> nn.Conv1d:
    assert isinstance(block, ConvBlock)
    return block.conv


def _in_sight(
    streaming: StreamingConfig, frames: int, seen: Tensor, padding_mask: Tensor | None
) -> Tensor:
    """Added to scores: 0 where a key may be looked at: (batch, 1, frames or 1, left + frames).

    Args:
        streaming: chunk and left context.
        frames: of the piece.
        seen: (batch, left_frames), 1 where the frames before were heard, 0 where nothing was yet.
        padding_mask: bool (batch, frames), True = padding, or None.
    """
    if padding_mask is None:
        hidden = functional.pad(1.0 - seen, (0, frames))
    else:
        hidden = torch.cat([1.0 - seen, padding_mask.to(seen.dtype)], dim=1)
    hidden = hidden[:, None, None, :]
    if frames > streaming.chunk_frames:  # a single chunk sees all there is
        starts = torch.arange(frames, device=seen.device) // streaming.chunk_frames
        starts = (starts * streaming.chunk_frames).unsqueeze(1)  # of each frame's chunk
        keys = torch.arange(-streaming.left_frames, frames, device=seen.device)
        far = (keys < starts - streaming.left_frames) | (keys >= starts + streaming.chunk_frames)
        hidden = torch.maximum(hidden, far.to(seen.dtype))
    return hidden * HIDDEN


def _joined(past: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """What was heard last with a signal behind it, and as much of its end: (batch, time, width)."""
    joined = torch.cat([past.to(signal.dtype), signal], dim=1)
    return joined, joined[:, signal.shape[1] :]
