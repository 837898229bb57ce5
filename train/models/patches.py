"""A transformer over the patches of a log-mel spectrogram, of which it may be shown a few.

Notation for shapes: batch, samples at 16 kHz, frames at 100 Hz, patches, tokens (the patches that
are shown, after a CLS token where there is one), embed_dim. A patch's number is its column times
`patches_per_column` plus its place in the column: those of one time follow each other, low first.
Sources: AudioMAE, arXiv:2207.06405; ViT, arXiv:2010.11929; MAE, arXiv:2111.06377.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..recipe import check
from .checkpoints import load_checkpoint, restore, save_checkpoint
from .context import Visible
from .frontend import HOP_SAMPLES, WINDOW_SAMPLES, LogMel
from .layers import TransformerLayer
from .patches_config import PatchesConfig


@dataclass(frozen=True)
class PatchOutput:
    """What one pass through the layers gives."""

    hidden_states: tuple[Tensor, ...]
    """The input of layer 1, then the output of each layer that ran: (batch, tokens, embed_dim)."""
    normed: Tensor | None
    """The last layer's output after the final norm; None where the pass stopped before."""
    padding_mask: Tensor | None
    """bool (batch, tokens), True where a row has no token; None where each has all."""


class PatchEncoder(nn.Module):
    """Waveform to hidden states: log-mel, patches, fixed positions, pre-norm transformer."""

    def __init__(self, config: PatchesConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.num_mels)
        self.embedding = nn.Linear(config.patch_dim, config.embed_dim)
        self.positions = GridPositions(config.embed_dim, config.patches_per_column)
        self.cls_token = nn.Parameter(torch.empty(config.embed_dim)) if config.cls_token else None
        self.layers = nn.ModuleList(
            _layer(config.embed_dim, heads, config.head_dim, ffn)
            for heads, ffn in zip(config.num_heads, config.ffn_dim, strict=True)
        )
        self.norm = nn.LayerNorm(config.embed_dim)
        initialize(self)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)

    def forward(
        self,
        waveform: Tensor,
        lengths: Tensor | None = None,
        visible: Visible | None = None,
        stop_after: int | None = None,
    ) -> PatchOutput:
        """Encode.

        Args:
            waveform: float (batch, samples) in [-1, 1].
            lengths: int (batch,), each row's samples before its zero padding; None: no padding.
                Not needed with `visible`, which leaves padding out.
            visible: as for `encode`.
            stop_after: as for `encode`.
        """
        patches = self.patches(waveform)
        padding_mask = None
        if lengths is not None and visible is None:
            padding_mask = self.padding_mask(lengths, patches.shape[1])
        return self.encode(patches, padding_mask, visible, stop_after)

    def patches(self, waveform: Tensor) -> Tensor:
        """Cut the log-mel spectrogram of (batch, samples) up: (batch, patches, patch_dim).

        Frames come before bands in a patch. In float32 in a mixed-precision run too: what is left
        of a logarithm in bfloat16 would be steps of 0.03.
        """
        config = self.config
        with torch.autocast(waveform.device.type, enabled=False):
            frames = self.log_mel(waveform)
        columns = frames.shape[1] // config.patch_frames
        # (batch, columns, patch_frames, patches_per_column, patch_mels)
        grid = frames[:, : columns * config.patch_frames].reshape(
            len(frames), columns, config.patch_frames, config.patches_per_column, config.patch_mels
        )
        patches: Tensor = grid.transpose(2, 3).flatten(3).flatten(1, 2)
        return patches

    def normalized(self, patches: Tensor) -> Tensor:
        """Log-mels less the corpus's mean, over its scale; any shape."""
        return (patches - self.config.mean) / self.config.scale

    def padding_mask(self, lengths: Tensor, num_patches: int) -> Tensor:
        """Which patches hold padding, wholly or in part: bool (batch, num_patches)."""
        config = self.config
        frames = (lengths - WINDOW_SAMPLES).div(HOP_SAMPLES, rounding_mode="floor") + 1
        columns = frames.div(config.patch_frames, rounding_mode="floor")
        places = torch.arange(num_patches, device=lengths.device)
        return places >= (columns * config.patches_per_column).unsqueeze(1)

    def encode(
        self,
        patches: Tensor,
        padding_mask: Tensor | None = None,
        visible: Visible | None = None,
        stop_after: int | None = None,
    ) -> PatchOutput:
        """Let patches look at each other.

        Args:
            patches: (batch, patches, patch_dim), as `patches` gives them.
            padding_mask: bool (batch, patches), True = padding; None: nothing is.
            visible: the patches to run; the others are not even embedded, and padding must not be
                among them. None: all.
            stop_after: layers to run, from 1; later ones and the final norm do not. None: all.

        Raises:
            ValueError: a `stop_after` that the encoder does not have.
        """
        depth = len(self.layers)
        if stop_after is not None and not 1 <= stop_after <= depth:
            raise ValueError(f"stop_after must lie in [1, {depth}], got {stop_after}")
        positions = self.positions(patches.shape[1])
        if visible is not None:
            places = visible.places.unsqueeze(-1).expand(-1, -1, patches.shape[-1])
            patches = patches.gather(1, places)
            positions = positions[visible.places]
            padding_mask = visible.filler
        hidden = self.embedding(self.normalized(patches)) + positions
        if self.cls_token is not None:
            first = self.cls_token.expand(len(hidden), 1, -1)
            hidden = torch.cat([first.to(hidden.dtype), hidden], dim=1)
            if padding_mask is not None:
                padding_mask = functional.pad(padding_mask, (1, 0), value=False)
        attend = None if padding_mask is None else ~padding_mask[:, None, None, :]
        hidden_states = [hidden]
        for layer in islice(self.layers, stop_after):
            hidden, _ = layer(hidden, attend)
            hidden_states.append(hidden)
        normed = self.norm(hidden) if stop_after is None else None
        return PatchOutput(tuple(hidden_states), normed, padding_mask)


class GridPositions(nn.Module):
    """Sines and cosines of a patch's place on both axes; nothing is learned.

    The first half of a vector tells the place in the column, the second the column: in MAE's code
    width comes before height, too.
    """

    rates: Tensor

    def __init__(self, embed_dim: int, patches_per_column: int) -> None:
        super().__init__()
        self.patches_per_column = patches_per_column
        quarter = embed_dim // 4
        rates = 10_000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
        self.register_buffer("rates", rates.float(), persistent=False)

    def forward(self, num_patches: int) -> Tensor:
        """The embeddings of the first patches: (num_patches, embed_dim)."""
        numbers = torch.arange(num_patches, device=self.rates.device)
        column = numbers.div(self.patches_per_column, rounding_mode="floor")
        halves = []
        for places in (numbers % self.patches_per_column, column):
            angles = places.unsqueeze(1) * self.rates
            halves += [angles.sin(), angles.cos()]
        return torch.cat(halves, dim=1)


class PatchDecoder(nn.Module):
    """A small transformer that fills the gaps: predicts every patch from those that were shown."""

    def __init__(
        self, config: PatchesConfig, *, dim: int, num_heads: int, ffn_dim: int, num_layers: int
    ) -> None:
        """Set up.

        Args:
            config: the encoder's.
            dim: width, a multiple of 4 and of `num_heads`.
            num_heads: of each layer.
            ffn_dim: hidden width of each layer's feed-forward block.
            num_layers: one or more.
        """
        super().__init__()
        self.has_cls = config.cls_token
        self.embedding = nn.Linear(config.embed_dim, dim)
        self.mask_token = nn.Parameter(torch.empty(dim))
        self.positions = GridPositions(dim, config.patches_per_column)
        self.layers = nn.ModuleList(
            _layer(dim, num_heads, dim // num_heads, ffn_dim) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, config.patch_dim)
        initialize(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, tokens: Tensor, visible: Visible, num_patches: int, padding_mask: Tensor | None
    ) -> Tensor:
        """Predict.

        Args:
            tokens: (batch, tokens, embed_dim), what the encoder made of `visible`, CLS included.
            visible: where they stood.
            num_patches: of the whole.
            padding_mask: bool (batch, num_patches), True = padding; None: nothing is.

        Returns:
            (batch, num_patches, patch_dim).
        """
        embedded = self.embedding(tokens)
        cls = embedded[:, :1] if self.has_cls else embedded[:, :0]
        # One patch more than there is: what fills a row up is put there and dropped.
        gaps = self.mask_token.to(embedded.dtype).expand(len(tokens), num_patches + 1, -1)
        patches = visible.put_back(gaps, embedded[:, cls.shape[1] :])
        hidden = torch.cat([cls, patches + self.positions(num_patches)], dim=1)
        attend = None
        if padding_mask is not None:
            attend = ~functional.pad(padding_mask, (cls.shape[1], 0), value=False)[:, None, None]
        for layer in self.layers:
            hidden, _ = layer(hidden, attend)
        predicted: Tensor = self.proj(self.norm(hidden[:, cls.shape[1] :]))
        return predicted


def initialize(module: nn.Module) -> None:
    """Draw the linear layers as MAE does: uniform by Xavier's rule, biases zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)


def save_patches(
    folder: Path,
    config: PatchesConfig,
    state: Mapping[str, Tensor],
    *,
    provenance: Mapping[str, Any],
    objective: tuple[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write a patch encoder's checkpoint; arguments as for `wav2vec2.save_encoder`."""
    record = {
        "family": "patches",
        "encoder": dataclasses.asdict(config),
        "provenance": provenance,
    }
    save_checkpoint(folder, record, state, objective)


def load_patches(folder: Path) -> PatchEncoder:
    """Read a patch encoder back, every tensor accounted for.

    Raises:
        TrainError: there is none, it is damaged, or of another family.
    """
    config, state = load_checkpoint(folder, "patches", "encoder")
    encoder = PatchEncoder(check(config["encoder"], PatchesConfig, f"{folder}/config.json"))
    restore(encoder, state, folder)
    return encoder


def _layer(embed_dim: int, num_heads: int, head_dim: int, ffn_dim: int) -> TransformerLayer:
    return TransformerLayer(
        embed_dim=embed_dim,
        num_heads=num_heads,
        head_dim=head_dim,
        ffn_dim=ffn_dim,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        pre_norm=True,
    )
