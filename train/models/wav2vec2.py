"""The encoder that wav2vec 2.0, HuBERT and LightHuBERT share.

Notation used for tensor shapes: batch, samples at 16 kHz, frames at 50 Hz, embed_dim.
Sources: wav2vec 2.0, arXiv:2006.11477, section 2; HuBERT, arXiv:2106.07447.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..recipe import check
from .checkpoints import load_checkpoint, restore, save_checkpoint
from .context import ContextNetwork, ContextOutput
from .cpu_training import Dropout
from .layers import ConvBlock, scale_gradient
from .running_norm import RunningNorm
from .streaming import Shapes, States, initial
from .wav2vec2_config import Wav2Vec2Config
from .wav2vec2_streaming import (
    chunks_of,
    context_shapes,
    contextualize,
    extract,
    extractor_shapes,
)


@dataclass(frozen=True)
class LocalFeatures:
    """What each frame is before it looks at the others."""

    conv_features: Tensor
    """(batch, frames, channels): what the feature extractor gives, before any norm."""
    normed_features: Tensor
    """(batch, frames, channels): the same after LayerNorm; what wav2vec 2.0 quantizes."""
    projected: Tensor
    """(batch, frames, embed_dim), before masking and positions (LightHuBERT's hidden state 0)."""
    padding_mask: Tensor | None
    """bool (batch, frames), True = padding; None where no lengths were given."""


@dataclass(frozen=True)
class EncoderOutput(ContextOutput):
    """What one pass through an encoder gives."""

    conv_features: Tensor
    """(batch, frames, channels): what the feature extractor gives, before any norm."""
    normed_features: Tensor
    """(batch, frames, channels): the same after LayerNorm; what wav2vec 2.0 quantizes."""
    features: Tensor
    """(batch, frames, embed_dim), before masking and positions (LightHuBERT's hidden state 0)."""
    padding_mask: Tensor | None
    """bool (batch, frames), True = padding; None where no lengths were given."""

    @property
    def output(self) -> Tensor:
        """The last hidden state."""
        return self.hidden_states[-1]


class Wav2Vec2Encoder(ContextNetwork):
    """Waveform to hidden states: conv feature extractor, positions, transformer."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.mask_embedding = (
            nn.Parameter(torch.rand(config.embed_dim)) if config.mask_embedding else None
        )
        self.feature_extractor = _feature_extractor(config)
        channels = config.conv_layers[-1].channels
        self.feature_norm = nn.LayerNorm(channels)
        self.feature_projection = nn.Linear(channels, config.embed_dim)
        self.input_dropout = Dropout(config.input_dropout)
        streaming = config.streaming if config.normalize_waveform else None
        self.running_norm = None if streaming is None else RunningNorm(streaming.running_norm)
        """Of a stream; whole utterances are normalized by `normalize_waveform`."""

    def forward(
        self,
        waveform: Tensor,
        lengths: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> EncoderOutput:
        """Encode.

        Args:
            waveform: float (batch, samples) in [-1, 1].
            lengths: int (batch,), each row's samples before its zero padding; None: no padding.
            frame_mask: bool (batch, frames), True = hidden behind the mask embedding.

        Returns:
            every hidden state and feed-forward output.
        """
        return self.encode(self.project(waveform, lengths), frame_mask)

    def encode(self, local: LocalFeatures, frame_mask: Tensor | None = None) -> EncoderOutput:
        """Encode what `project` gave; `frame_mask` as for `forward`."""
        hidden = self.hide(local.projected, frame_mask)
        context = self.contextualize(hidden, local.padding_mask)
        return EncoderOutput(
            context.hidden_states,
            context.ffn_outputs,
            local.conv_features,
            local.normed_features,
            local.projected,
            local.padding_mask,
        )

    def hide(self, projected: Tensor, frame_mask: Tensor | None) -> Tensor:
        """What the context network is shown of projected frames; `frame_mask` as for `forward`."""
        hidden: Tensor = self.input_dropout(projected)
        if frame_mask is None:
            return hidden
        assert self.mask_embedding is not None, "this encoder leaves hidden frames out"
        return torch.where(frame_mask.unsqueeze(-1), self.mask_embedding, hidden)

    def project(self, waveform: Tensor, lengths: Tensor | None = None) -> LocalFeatures:
        """What each frame is by itself; arguments as for `forward`."""
        if self.config.streaming is not None:
            states = initial(extractor_shapes(self), len(waveform), like=waveform)
            features, _ = extract(self, waveform, states)
            return self.project_features(features, lengths)
        if self.config.normalize_waveform:
            waveform = normalize_waveform(waveform, lengths)
        return self.project_features(self.extract(waveform), lengths)

    def project_features(self, features: Tensor, lengths: Tensor | None = None) -> LocalFeatures:
        """What each frame is by itself, from what `extract` gave: (batch, frames, channels)."""
        normed = self.feature_norm(features)
        padding_mask = self.padding_mask(lengths, features.shape[1])
        return LocalFeatures(features, normed, self.feature_projection(normed), padding_mask)

    def extract(self, waveform: Tensor) -> Tensor:
        """Waveform (batch, samples) to conv features (batch, frames, channels)."""
        signal = waveform.unsqueeze(2)  # (batch, time, channels)
        for block in self.feature_extractor:
            signal = block(signal)
        return scale_gradient(signal, self.config.feature_grad_mult)

    def padding_mask(self, lengths: Tensor | None, num_frames: int) -> Tensor | None:
        """Which frames hold padding: bool (batch, num_frames); None where nothing does."""
        if lengths is None:
            return None
        if self.config.streaming is not None:
            ends = torch.arange(1, num_frames + 1, device=lengths.device)
            return ends * self.config.stride_samples > lengths.unsqueeze(1)
        for conv in self.config.conv_layers:
            lengths = torch.div(lengths - conv.kernel, conv.stride, rounding_mode="floor") + 1
        return torch.arange(num_frames, device=lengths.device) >= lengths.unsqueeze(1)

    def shapes(self) -> Shapes:
        """Of the states of `stream`, which are zeros before the first piece.

        Raises:
            ValueError: `config.streaming` is None.
        """
        return context_shapes(self) | extractor_shapes(self)

    def stream(
        self, waveform: Tensor, states: Mapping[str, Tensor]
    ) -> tuple[ContextOutput, States]:
        """Encode the next piece of a stream, which is also how `forward` encodes a whole.

        Args:
            waveform: float (batch, samples) in [-1, 1], whole chunks: a multiple of
                config.streaming.chunk_frames * config.stride_samples.
            states: (batch, *shape) each, by `shapes`.

        Returns:
            hidden states of the piece's frames, the last of them the output, and the states
            after it.

        Raises:
            ValueError: `config.streaming` is None, or the piece does not hold whole chunks.
        """
        chunk_samples = chunks_of(self).chunk_frames * self.config.stride_samples
        if waveform.shape[1] < 1 or waveform.shape[1] % chunk_samples:
            raise ValueError(
                f"a piece must hold whole chunks of {chunk_samples} samples, got "
                f"{waveform.shape[1]}; keep what is left for the next piece"
            )
        features, heard = extract(self, waveform, states)
        hidden = self.hide(self.project_features(features).projected, None)
        context, mixed = contextualize(self, hidden, states)
        return context, heard | mixed


def save_encoder(
    folder: Path,
    config: Wav2Vec2Config,
    state: Mapping[str, Tensor],
    *,
    provenance: Mapping[str, Any],
    objective: tuple[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write an encoder's checkpoint.

    Args:
        folder: becomes the checkpoint; an older one is replaced.
        config: the encoder's.
        state: its tensors.
        provenance: says in JSON values what it was made from.
        objective: name and tensors of what it was pretrained by, for `load_objective`.
    """
    record = {
        "family": "wav2vec2",
        "encoder": dataclasses.asdict(config),
        "provenance": provenance,
    }
    save_checkpoint(folder, record, state, objective)


def load_encoder(folder: Path) -> Wav2Vec2Encoder:
    """Read an encoder back, every tensor accounted for.

    Raises:
        TrainError: there is none, it is damaged, or of another family.
    """
    config, state = load_checkpoint(folder, "wav2vec2", "encoder")
    encoder = Wav2Vec2Encoder(check(config["encoder"], Wav2Vec2Config, f"{folder}/config.json"))
    restore(encoder, state, folder)
    return encoder


def normalize_waveform(waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Zero mean and unit variance (biased, eps 1e-5) for each row; padding counts for nothing.

    Args:
        waveform: (batch, samples).
        lengths: int (batch,), samples of each row before its padding, or None.

    Returns:
        (batch, samples); padding stays zero.
    """
    if lengths is None:
        return functional.layer_norm(waveform, waveform.shape[-1:])
    valid = torch.arange(waveform.shape[1], device=waveform.device) < lengths.unsqueeze(1)
    count = lengths.unsqueeze(1).to(waveform.dtype)
    mean = (waveform * valid).sum(1, keepdim=True) / count
    centred = (waveform - mean) * valid
    variance = centred.square().sum(1, keepdim=True) / count
    return centred / torch.sqrt(variance + 1e-5)


def _feature_extractor(config: Wav2Vec2Config) -> nn.ModuleList:
    blocks = nn.ModuleList()
    in_channels = 1
    for index, conv in enumerate(config.conv_layers):
        norm: nn.Module | None = None
        if config.conv_norm == "layer":
            norm = nn.LayerNorm(conv.channels)
        elif index == 0:
            norm = nn.GroupNorm(conv.channels, conv.channels)
        block = ConvBlock(
            in_channels,
            conv.channels,
            kernel=conv.kernel,
            stride=conv.stride,
            bias=config.conv_bias,
            norm=norm,
        )
        nn.init.kaiming_normal_(block.conv.weight)
        blocks.append(block)
        in_channels = conv.channels
    return blocks
