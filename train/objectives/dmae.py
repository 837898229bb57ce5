"""Masked autoencoding of spectrogram patches, alone or beside a teacher's features.

Without a teacher this is MAE (arXiv:2111.06377; on log-mel AudioMAE, arXiv:2207.06405), which makes
the teachers. With one it is DMAE (arXiv:2208.12256), whose students also learn what the teacher
finds at three quarters of its depth in the same few patches; the teacher's pass stops there. What
is predicted is the input, and a teacher stands still: neither can collapse, so nothing is checked.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT, OneRoundRecipe
from ..data.batches import Batch
from ..data.cuts import SAMPLE_RATE
from ..data.masking import random_masks
from ..errors import RecipeError
from ..models.context import Visible
from ..models.patches import PatchDecoder, PatchEncoder, PatchOutput, initialize
from ..models.patches_config import PatchesConfig
from ..seeding import Draws
from ..targets.layers import spread
from . import Loss, Objective
from ._parts import shown


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DecoderConfig:
    """The small transformer that fills the gaps; nothing of it is kept.

    AudioMAE has windowed attention here, in 16 layers; DMAE and MAE have these 8 plain ones.
    """

    dim: int = 512
    """Its width, a multiple of 4 and of `num_heads`."""
    num_heads: int = 16
    """Attention heads of each layer."""
    ffn_dim: int = 2048
    """Hidden width of each layer's feed-forward block."""
    num_layers: int = 8
    """Its layers."""

    def __post_init__(self) -> None:
        if min(self.dim, self.num_heads, self.ffn_dim, self.num_layers) < 1:
            raise ValueError("dim, num_heads, ffn_dim and num_layers must be 1 or more")
        if self.dim % 4 or self.dim % self.num_heads:
            raise ValueError(
                f"dim must be a multiple of 4 and of num_heads, got {self.dim} and {self.num_heads}"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Recipe(OneRoundRecipe):
    """Masked autoencoding, with a teacher's features where `feature_weight` is above 0."""

    objective: Literal["dmae"]
    """The paper that this recipe follows."""
    encoder: PatchesConfig
    """Sizes of the encoder that learns."""
    mask_ratio: float = 0.75
    """Share of patches that are hidden, exactly, in (0, 1)."""
    normalize_targets: bool = True
    """Each patch to be predicted has zero mean and unit variance, as in AudioMAE, not in DMAE."""
    feature_weight: float = 1.0
    """Weight of the distance to the teacher's features; 0: no teacher. The paper takes 1. The mean
    absolute difference of unit vectors of D numbers is of the order of D^-0.5, 0.03 at 1,024, so at
    1 this is a small part of the loss."""
    feature_depth: float = 0.75
    """Share of the layers of each after which features are compared, in (0, 1]."""
    decoder: DecoderConfig = DecoderConfig()
    """What fills the gaps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.mask_ratio < 1.0 or not 0.0 < self.feature_depth <= 1.0:
            raise ValueError(
                "mask_ratio must lie in (0, 1) and feature_depth in (0, 1], got "
                f"{self.mask_ratio} and {self.feature_depth}"
            )
        if self.feature_weight < 0:
            raise ValueError(f"feature_weight must be 0 or more, got {self.feature_weight}")
        # Less of what rounding may take: a second is 16,000 samples or one fewer.
        if self.encoder.num_patches(round(self.batch.min_seconds * SAMPLE_RATE)) < 2:
            raise ValueError(
                f"batch.min_seconds must hold two patches or more of {self.encoder.patch_frames} "
                f"frames (10 ms each), one to show and one to hide; got {self.batch.min_seconds}"
            )

    @property
    def needs_teacher(self) -> bool:
        """Where features count."""
        return self.feature_weight > 0

    def stop(self, encoder: PatchesConfig) -> int:
        """Layers of an encoder until features are compared: 18 of 24, 9 of 12, 4 of 6."""
        return max(1, int(encoder.num_layers * self.feature_depth))


class Dmae(Objective):
    """Hidden patches from those that are shown, and of these what a frozen teacher makes."""

    def __init__(
        self, encoder: PatchEncoder, recipe: Recipe, teacher: PatchEncoder | None = None
    ) -> None:
        """Set up.

        Args:
            encoder: what learns.
            recipe: as its encoder has it.
            teacher: is frozen; goes with a `feature_weight` above 0.

        Raises:
            RecipeError: a teacher that cuts spectrograms up in another way.
        """
        super().__init__()
        assert recipe.needs_teacher == (teacher is not None)
        self.encoder = encoder
        self.recipe = recipe
        decoder = recipe.decoder
        self.decoder = PatchDecoder(
            encoder.config,
            dim=decoder.dim,
            num_heads=decoder.num_heads,
            ffn_dim=decoder.ffn_dim,
            num_layers=decoder.num_layers,
        )
        self.teacher = teacher
        self.projection: nn.Linear | None = None
        if teacher is not None:
            _check_patches(teacher.config, encoder.config)
            self.projection = nn.Linear(encoder.config.embed_dim, teacher.config.embed_dim)
            initialize(self.projection)
            teacher.requires_grad_(False)
            teacher.eval()

    def train(self, mode: bool = True) -> "Dmae":
        """The teacher stays in eval mode whatever is asked."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Squared error of the hidden patches, and the distance of features.

        The paper takes the mean over all hidden patches and over all tokens shown, of images of one
        size. Here rows differ in length: a row's mean distance, over its own tokens, weighs as much
        as it has hidden patches, so that rows may be dealt to devices in any way.
        """
        patches = self.encoder.patches(batch.waveform)
        lengths = np.array([self.encoder.config.num_patches(size) for size in batch.num_samples])
        hidden = random_masks(lengths, ratio=self.recipe.mask_ratio, rngs=draws.rows(batch.rows))
        visible = shown(hidden, lengths, patches.device)
        seen = self.encoder.encode(patches, visible=visible)
        assert seen.normed is not None
        predicted = self.decoder(
            seen.normed, visible, patches.shape[1], _padding_mask(lengths, patches.device)
        )
        rows, columns = (torch.from_numpy(index).to(patches.device) for index in hidden.nonzero())
        guessed = predicted[rows, columns].float()
        wanted = self.targets(patches[rows, columns])
        total = functional.mse_loss(guessed, wanted, reduction="sum") / wanted.shape[-1]
        count = max(len(rows), 1)
        parts = {
            "reconstruction": total.detach() / count,
            "prediction_std": spread(guessed),
            "mask_fraction": torch.tensor(len(rows) / max(int(lengths.sum()), 1)),
        }
        if self.teacher is not None:
            distance = self._feature_distance(patches, visible, seen, hidden, lengths)
            parts["feature_distance"] = distance.detach() / count
            total = total + self.recipe.feature_weight * distance
        return Loss(total, len(rows), parts)

    def targets(self, patches: Tensor) -> Tensor:
        """What hidden patches are predicted as.

        Args:
            patches: (..., patch_dim), as the encoder cuts them.

        Returns:
            the same shape: normalized by the corpus's statistics, and then each by its own mean and
            its own unbiased variance plus 1e-6, as MAE does, where the recipe says so.
        """
        wanted = self.encoder.normalized(patches)
        if self.recipe.normalize_targets:
            wanted = wanted - wanted.mean(-1, keepdim=True)
            variance = wanted.square().sum(-1, keepdim=True) / max(1, wanted.shape[-1] - 1)
            wanted = wanted / (variance + 1e-6).sqrt()
        return wanted

    def _feature_distance(
        self,
        patches: Tensor,
        visible: Visible,
        seen: PatchOutput,
        hidden: NDArray[np.bool_],
        lengths: NDArray[np.int64],
    ) -> Tensor:
        """Each row's mean absolute difference of unit vectors times its hidden patches, summed."""
        assert self.teacher is not None
        assert self.projection is not None
        recipe = self.recipe
        with torch.no_grad():
            known = self.teacher.encode(
                patches, visible=visible, stop_after=recipe.stop(self.teacher.config)
            )
        features = self.projection(seen.hidden_states[recipe.stop(self.encoder.config)])
        given = functional.normalize(features.float(), dim=-1)
        wanted = functional.normalize(known.hidden_states[-1].float(), dim=-1)
        by_token = functional.l1_loss(given, wanted, reduction="none").mean(-1)
        if seen.padding_mask is not None:
            by_token = by_token.masked_fill(seen.padding_mask, 0.0)
        num_hidden = hidden.sum(1)
        num_tokens = lengths - num_hidden + int(self.encoder.config.cls_token)
        weights = torch.from_numpy((num_hidden / np.maximum(num_tokens, 1)).astype(np.float32))
        return (by_token.sum(1) * weights.to(by_token.device)).sum()


build = Dmae


def _padding_mask(lengths: NDArray[np.int64], device: torch.device) -> Tensor | None:
    """bool (rows, patches), True = padding; None where no row is shorter than another."""
    if lengths.min() == lengths.max():
        return None
    return torch.from_numpy(np.arange(lengths.max()) >= lengths[:, None]).to(device)


def _check_patches(teacher: PatchesConfig, student: PatchesConfig) -> None:
    """Two encoders must see the same tokens; what is taken off a log-mel is each one's own."""
    for name in ("num_mels", "patch_frames", "patch_mels", "cls_token"):
        theirs, ours = getattr(teacher, name), getattr(student, name)
        if theirs != ours:
            raise RecipeError(
                f"the teacher has encoder.{name} {theirs!r} where the recipe has {ours!r}; both "
                "must see the same patches: change the recipe or take another teacher"
            )
