"""data2vec 2.0: students that see only a part, several to one teacher pass (arXiv:2212.07525)."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT, OneRoundRecipe
from ..data.batches import Batch
from ..data.masking import block_masks
from ..models.wav2vec2 import Wav2Vec2Encoder
from ..models.wav2vec2_config import Wav2Vec2Config
from ..seeding import Draws
from ..targets.ema import EmaConfig, EmaTeacher
from ..targets.layers import layer_mean, spread
from . import Loss, Objective
from ._parts import check_spread, num_frames, shown
from .data2vec import regression


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DecoderConfig:
    """The small convolutional network that fills the gaps."""

    dim: int = 384
    """Its channels."""
    kernel: int = 7
    """In frames, odd."""
    groups: int = 16
    """Of its convolutions."""
    num_layers: int = 4
    """Its convolutions."""
    input_dropout: float = 0.1
    """On what the student gives it, in [0, 1)."""
    noise_std: float = 0.01
    """Of what stands in the gaps."""

    def __post_init__(self) -> None:
        if min(self.dim, self.kernel, self.groups, self.num_layers) < 1 or self.kernel % 2 == 0:
            raise ValueError("dim, groups and num_layers must be 1 or more, kernel odd")
        if not 0.0 <= self.input_dropout < 1.0 or self.noise_std < 0:
            raise ValueError("input_dropout must lie in [0, 1), noise_std be 0 or more")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Recipe(OneRoundRecipe):
    """data2vec 2.0 pretraining; the defaults are Base's."""

    objective: Literal["data2vec2"]
    """The paper that this recipe follows."""
    encoder: Wav2Vec2Config
    """The teacher's sizes."""
    num_masks: int = 8
    """Masked copies of each utterance that share the teacher's pass."""
    mask_ratio: float = 0.5
    """Share of frames that each copy hides, exactly, in (0, 1)."""
    mask_span: int = 5
    """Frames of a hidden block."""
    mask_adjust: float = 0.05
    """Added to the share when blocks are drawn, because they overlap."""
    top_layers: int = 8
    """Teacher layers averaged into the target, from the last back."""
    ema: EmaConfig = EmaConfig(end=0.99999, updates=75_000)
    """How slowly the teacher follows."""
    decoder: DecoderConfig = DecoderConfig()
    """What fills the gaps."""
    smooth_l1_beta: float = 0.0
    """0: squared error; above: smooth L1, squared up to this."""
    check_after: int = 5_000
    """Updates after which a collapse ends the run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder.mask_embedding:  # which nothing would train
            raise ValueError(
                "data2vec2 leaves hidden frames out: set encoder.mask_embedding = false"
            )
        if not 1 <= self.top_layers <= self.encoder.num_layers:
            raise ValueError(
                f"top_layers must lie in [1, {self.encoder.num_layers}], the encoder's layers; got "
                f"{self.top_layers}"
            )
        if self.num_masks < 1 or self.mask_span < 1 or not 0.0 < self.mask_ratio < 1.0:
            raise ValueError(
                "num_masks and mask_span must be 1 or more, mask_ratio lie in (0, 1); got "
                f"{self.num_masks}, {self.mask_span}, {self.mask_ratio}"
            )
        if min(self.mask_adjust, self.smooth_l1_beta, self.check_after) < 0:
            raise ValueError("mask_adjust, smooth_l1_beta and check_after must be 0 or more")
        if self.encoder.embed_dim % self.decoder.groups or self.decoder.dim % self.decoder.groups:
            raise ValueError("decoder.groups must divide decoder.dim and encoder.embed_dim")


class ConvDecoder(nn.Module):
    """Grouped convolutions with residuals over the whole utterance."""

    def __init__(self, embed_dim: int, config: DecoderConfig) -> None:
        super().__init__()
        widths = [embed_dim] + [config.dim] * config.num_layers
        self.convs = nn.ModuleList(
            nn.Conv1d(
                wide, config.dim, config.kernel, padding=config.kernel // 2, groups=config.groups
            )
            for wide in widths[:-1]
        )
        self.proj = nn.Linear(config.dim, embed_dim)

    def forward(self, hidden: Tensor, padding_mask: Tensor | None) -> Tensor:
        """(batch, frames, embed_dim) to predictions of the same shape; padding counts as zeros."""
        for conv in self.convs:
            if padding_mask is not None:
                hidden = hidden.masked_fill(padding_mask.unsqueeze(-1), 0.0)
            made = conv(hidden.transpose(1, 2)).transpose(1, 2)
            made = functional.gelu(functional.layer_norm(made, made.shape[-1:]))
            hidden = made + hidden if made.shape == hidden.shape else made
        projected: Tensor = self.proj(hidden)
        return projected


class Data2Vec2(Objective):
    """Visible frames through the transformer, gaps through a decoder, one teacher for all."""

    def __init__(self, encoder: Wav2Vec2Encoder, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = encoder
        self.recipe = recipe
        self.teacher = EmaTeacher(encoder)
        self.decoder = ConvDecoder(encoder.config.embed_dim, recipe.decoder)
        self.decoder_dropout = nn.Dropout(recipe.decoder.input_dropout)

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Squared error over the hidden frames of every copy."""
        recipe = self.recipe
        device = batch.waveform.device
        hidden = self._masks(batch, draws)
        local = self.encoder.project(batch.waveform, batch.padded_lengths)
        with torch.no_grad():
            seen = self.teacher.contextualize(local.projected.detach(), local.padding_mask)
            target = layer_mean(
                seen.ffn_outputs, local.padding_mask, top_layers=recipe.top_layers, normalize=True
            )
        padding = None
        if local.padding_mask is not None:
            padding = local.padding_mask.repeat_interleave(recipe.num_masks, 0)
        predicted = self._student(
            local.projected, padding, hidden, num_frames(batch, self.encoder.config)
        )
        rows, columns = (torch.from_numpy(index).to(device) for index in hidden.nonzero())
        wanted = target[rows // recipe.num_masks, columns]
        guessed = predicted[rows, columns].float()
        return Loss(
            regression(guessed, wanted, recipe.smooth_l1_beta),
            len(rows),
            {
                "target_std": spread(wanted),
                "prediction_std": spread(guessed),
                "feature_std": spread(local.projected.detach()[rows // recipe.num_masks, columns]),
                "mask_fraction": torch.tensor(float(hidden.mean())),
            },
        )

    def _masks(self, batch: Batch, draws: Draws) -> NDArray[np.bool_]:
        """Hidden frames of every copy: bool (batch * num_masks, frames)."""
        return block_masks(
            num_frames(batch, self.encoder.config),
            num_masks=self.recipe.num_masks,
            ratio=self.recipe.mask_ratio,
            span=self.recipe.mask_span,
            adjust=self.recipe.mask_adjust,
            rngs=draws.rows(batch.rows),
        )

    def _student(
        self,
        projected: Tensor,
        padding_mask: Tensor | None,
        hidden: NDArray[np.bool_],
        lengths: list[int],
    ) -> Tensor:
        """Predictions of every copy, (batch * num_masks, frames, embed_dim), from what it sees."""
        recipe = self.recipe
        copies = projected.repeat_interleave(recipe.num_masks, 0)
        masked = torch.from_numpy(hidden).to(copies.device).unsqueeze(-1)
        visible = shown(hidden, np.repeat(lengths, recipe.num_masks), copies.device)
        seen = self.encoder.contextualize(
            self.encoder.input_dropout(copies).masked_fill(masked, 0.0), padding_mask, visible
        ).hidden_states[-1]
        seen = self.decoder_dropout(seen)
        batch, frames, width = copies.shape
        noise = torch.randn(batch, frames + 1, width, device=seen.device, dtype=seen.dtype)
        whole = visible.put_back(noise * recipe.decoder.noise_std, seen)
        predicted: Tensor = self.decoder(whole, padding_mask)
        return predicted

    def after_update(self, update: int) -> None:
        """The teacher follows."""
        self.teacher.follow(self.encoder, self.recipe.ema.decay(update))

    def check(self, update: int, metrics: Mapping[str, float]) -> None:
        """End a run whose targets or predictions no longer differ from frame to frame."""
        if update > self.recipe.check_after:
            check_spread(metrics, update)


build = Data2Vec2
