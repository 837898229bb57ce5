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
from .layers import ConvBlock, PositionalConv, TransformerLayer, scale_gradient
from .wav2vec2_config import Wav2Vec2Config


@dataclass(frozen=True)
class EncoderOutput:
    """What one pass through an encoder gives: (batch, frames, embed_dim) unless said otherwise."""

    conv_features: Tensor
    """(batch, frames, channels): what the feature extractor gives, before any norm."""
    features: Tensor
    """Projected features before masking and positions (LightHuBERT's hidden state 0)."""
    hidden_states: tuple[Tensor, ...]
    """The input of layer 1, then each layer's output; the last is the encoder's output.

    A layer that layerdrop skips passes its input on, so there are always num_layers + 1.
    """
    ffn_outputs: tuple[Tensor, ...]
    """Feed-forward output of each layer that ran, before dropout and residual."""
    padding_mask: Tensor | None
    """bool (batch, frames), True = padding; None where no lengths were given."""

    @property
    def output(self) -> Tensor:
        """The last hidden state."""
        return self.hidden_states[-1]


class Wav2Vec2Encoder(nn.Module):
    """Waveform to hidden states: conv feature extractor, positions, transformer."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        self.mask_embedding = nn.Parameter(torch.rand(config.embed_dim))
        self.feature_extractor = _feature_extractor(config)
        channels = config.conv_layers[-1].channels
        self.feature_norm = nn.LayerNorm(channels)
        self.feature_projection = nn.Linear(channels, config.embed_dim)
        self.pos_conv = PositionalConv(
            config.embed_dim,
            kernel=config.pos_conv_kernel,
            groups=config.pos_conv_groups,
            weight_norm=config.pos_conv_weight_norm,
        )
        self.norm = nn.LayerNorm(config.embed_dim)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                embed_dim=config.embed_dim,
                num_heads=num_heads,
                head_dim=config.head_dim,
                ffn_dim=ffn_dim,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                activation_dropout=config.activation_dropout,
                pre_norm=config.pre_norm,
            )
            for num_heads, ffn_dim in zip(config.num_heads, config.ffn_dim, strict=True)
        )
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):  # as in BERT
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

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
        config = self.config
        if config.normalize_waveform:
            waveform = normalize_waveform(waveform, lengths)
        features = self.extract(waveform)
        padding_mask = self.padding_mask(lengths, features.shape[1])
        projected = self.feature_projection(self.feature_norm(features))
        hidden = self.input_dropout(projected)
        if frame_mask is not None:
            hidden = torch.where(frame_mask.unsqueeze(-1), self.mask_embedding, hidden)
        attend = None
        if padding_mask is not None:
            hidden = hidden.masked_fill(padding_mask.unsqueeze(-1), 0.0)
            attend = ~padding_mask[:, None, None, :]
        hidden = hidden + self.pos_conv(hidden)
        if not config.pre_norm:
            hidden = self.norm(hidden)
        hidden_states, ffn_outputs = self._transform(self.dropout(hidden), attend)
        return EncoderOutput(features, projected, hidden_states, ffn_outputs, padding_mask)

    def extract(self, waveform: Tensor) -> Tensor:
        """Waveform (batch, samples) to conv features (batch, frames, channels)."""
        signal = waveform[:, None, None, :]  # (batch, channels, 1, time)
        for block in self.feature_extractor:
            signal = block(signal)
        return scale_gradient(signal, self.config.feature_grad_mult).squeeze(2).transpose(1, 2)

    def padding_mask(self, lengths: Tensor | None, num_frames: int) -> Tensor | None:
        """Which frames hold padding: bool (batch, num_frames); None where nothing does."""
        if lengths is None:
            return None
        for conv in self.config.conv_layers:
            lengths = torch.div(lengths - conv.kernel, conv.stride, rounding_mode="floor") + 1
        return torch.arange(num_frames, device=lengths.device) >= lengths.unsqueeze(1)

    def _transform(
        self, hidden: Tensor, attend: Tensor | None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        hidden_states, ffn_outputs = [hidden], []
        # Drawn at once and on the CPU: the step does not wait for a device.
        drops = (
            torch.rand(len(self.layers)).tolist() if self.training and self.config.layerdrop else ()
        )
        for index, layer in enumerate(self.layers):
            if drops and drops[index] <= self.config.layerdrop:
                hidden_states.append(hidden)
                continue
            hidden, ffn_output = layer(hidden, attend)
            hidden_states.append(hidden)
            ffn_outputs.append(ffn_output)
        if self.config.pre_norm:
            hidden_states[-1] = self.norm(hidden_states[-1])
        return tuple(hidden_states), tuple(ffn_outputs)


def save_encoder(
    folder: Path,
    config: Wav2Vec2Config,
    state: Mapping[str, Tensor],
    *,
    provenance: Mapping[str, Any],
) -> None:
    """Write an encoder's checkpoint; `provenance` says in JSON values what it was made from."""
    record = {
        "family": "wav2vec2",
        "encoder": dataclasses.asdict(config),
        "provenance": provenance,
    }
    save_checkpoint(folder, record, state)


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
