"""torch-pruning over our encoder: which tensors share a unit, and cutting it out of all of them.

Nothing of the library's own types leaves this package. Source: DepGraph, arXiv:2301.12900.
"""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
import torch_pruning
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from train.models.alibi import slopes
from train.models.layers import ConvBlock, SelfAttention, TransformerLayer
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Wav2Vec2Config

from .parts import Part

_FRAMES = 3
"""Of the signal that is traced: more than one, so that no axis of length 1 is mistaken."""


class DependencyGraph:
    """Which tensors of one encoder depend on which unit. The encoder is put in eval mode."""

    def __init__(self, encoder: Wav2Vec2Encoder) -> None:
        """Trace one short pass."""
        self.encoder = encoder
        samples = 1
        while encoder.config.num_frames(samples) < _FRAMES:
            samples += 1
        weight = encoder.feature_projection.weight
        # ALiBi's scales have an entry a head where the library counts a head's dimensions; it
        # would cut the wrong ones, so `cut` does it.
        scales = [] if encoder.alibi is None else [encoder.alibi.scale]
        self._graph = torch_pruning.DependencyGraph().build_dependency(
            encoder,
            torch.zeros(1, samples, dtype=weight.dtype, device=weight.device),
            forward_fn=_traceable,
            customized_pruners={nn.LayerNorm: _LayerNorms()},
            ignored_params=scales,
            verbose=False,
        )

    def group(self, part: Part, units: Sequence[int]) -> Any:
        """The library's group of these units of a part: every tensor they appear in.

        Indices are those of the root's output axis: a head is `head_dim` of them in a row.
        """
        root, width = self._root(part)
        indices = [unit * width + offset for unit in units for offset in range(width)]
        if isinstance(root, nn.Linear):
            return self._graph.get_pruning_group(
                root, torch_pruning.prune_linear_out_channels, indices
            )
        return self._graph.get_pruning_group(root, torch_pruning.prune_conv_out_channels, indices)

    def takes(self, dependency: Any) -> bool:
        """Whether a dependency is a layer's input: what reads the unit rather than makes it."""
        return bool(self._graph.is_in_channel_pruning_fn(dependency.handler)) and isinstance(
            dependency.target.module, nn.Linear | nn.Conv1d
        )

    def _root(self, part: Part) -> tuple[nn.Module, int]:
        """The layer that makes a part's units, and how many outputs a unit has."""
        layer = part.layers[0]
        if part.kind == "conv_channels":
            return _block(self.encoder, layer).conv, 1
        if part.kind == "ffn":
            return _layer(self.encoder, layer).ffn.up, 1
        return _layer(self.encoder, layer).attention.q_proj, self.encoder.config.head_dim


def cut(
    encoder: Wav2Vec2Encoder, parts: Sequence[Part], kept: Sequence[NDArray[Any]]
) -> Wav2Vec2Encoder:
    """Cut all but the kept units out of a copy of an encoder.

    Args:
        encoder: left as it is.
        parts: what to narrow, from `parts_of` its config.
        kept: of each part the units that stay, ascending.

    Returns:
        a dense encoder of its own config, in eval mode.
    """
    narrowed = copy.deepcopy(encoder)
    graph = DependencyGraph(narrowed)
    for part, stays in zip(parts, kept, strict=True):
        gone = sorted(set(range(part.num_units)) - {int(unit) for unit in stays})
        if gone:
            graph.group(part, gone).prune()
        if gone and part.kind == "heads" and narrowed.alibi is not None:
            _keep_biases(narrowed, [int(unit) for unit in stays])
    # Groups of a GroupNorm, head counts and the like are numbers that the library leaves as they
    # were: a fresh encoder is built to the tensors, and refuses any that does not fit.
    dense = Wav2Vec2Encoder(measured_config(narrowed)).to(narrowed.feature_projection.weight)
    dense.load_state_dict(narrowed.state_dict(), strict=True)
    return dense.eval()


def measured_config(encoder: Wav2Vec2Encoder) -> Wav2Vec2Config:
    """An encoder's config with channels, heads and FFN widths as its tensors have them."""
    config = encoder.config
    layers = [_layer(encoder, index) for index in range(config.num_layers)]
    return dataclasses.replace(
        config,
        conv_layers=tuple(
            dataclasses.replace(conv, channels=len(_block(encoder, index).conv.weight))
            for index, conv in enumerate(config.conv_layers)
        ),
        num_heads=tuple(len(layer.attention.q_proj.weight) // config.head_dim for layer in layers),
        ffn_dim=tuple(len(layer.ffn.up.weight) for layer in layers),
    )


class _LayerNorms(torch_pruning.pruner.function.LayernormPruner):
    """Cuts LayerNorms with what stays in its order.

    torch-pruning 1.6.1 takes it from a set without sorting: keep 8 entries of 64, and gains and
    biases come out shuffled among the channels.
    """

    def prune_out_channels(self, layer: nn.LayerNorm, idxs: Sequence[int]) -> nn.LayerNorm:
        """Drop entries `idxs`."""
        stays = sorted(set(range(layer.normalized_shape[0])) - set(idxs))
        layer.weight = self._prune_parameter_and_grad(layer.weight, stays, 0)
        layer.bias = self._prune_parameter_and_grad(layer.bias, stays, 0)
        layer.normalized_shape = (len(stays),)
        return layer

    prune_in_channels = prune_out_channels


def _traceable(encoder: Wav2Vec2Encoder, waveform: Tensor) -> Tensor:
    """The encoder's pass with its convolutions called as the layers they are.

    The library learns from autograd which layer made which result, and notices layers by their
    calls. `ConvBlock` never calls its `conv`: it hands the weights to functional.conv2d, on views
    (layers.py says why), which would pass for an operation without weights. The extractor is
    therefore walked here, on the same modules; from the projection on, the model's own code runs.
    """
    signal = waveform.unsqueeze(1)  # (batch, channels, time)
    for index in range(len(encoder.feature_extractor)):
        block = _block(encoder, index)
        signal = block.conv(signal)
        if isinstance(block.norm, nn.GroupNorm):
            signal = block.norm(signal)
        elif block.norm is not None:
            signal = block.norm(signal.transpose(1, 2)).transpose(1, 2)
        signal = functional.gelu(signal)
    features = encoder.feature_norm(signal.transpose(1, 2))
    return encoder.contextualize(encoder.feature_projection(features), None).hidden_states[-1]


def _keep_biases(encoder: Wav2Vec2Encoder, stays: list[int]) -> None:
    """Let each head that stays keep its bias: slopes go by a head's place among the heads."""
    alibi = encoder.alibi
    assert alibi is not None
    before = alibi.slopes[stays] * alibi.scale[stays]
    alibi.slopes = torch.tensor(slopes(len(stays))).to(alibi.slopes)
    alibi.scale = nn.Parameter((before / alibi.slopes).detach())


def _block(encoder: Wav2Vec2Encoder, index: int) -> ConvBlock:
    block = encoder.feature_extractor[index]
    assert isinstance(block, ConvBlock)
    return block


def _layer(encoder: Wav2Vec2Encoder, index: int) -> TransformerLayer:
    layer = encoder.layers[index]
    assert isinstance(layer, TransformerLayer)
    assert isinstance(layer.attention, SelfAttention)
    return layer
