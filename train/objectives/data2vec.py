"""data2vec: regress a moving-average teacher's layers at the hidden frames (arXiv:2202.03555)."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT, MaskConfig, OneRoundRecipe
from ..data.batches import Batch
from ..models.keyword_transformer import KeywordEncoder
from ..models.wav2vec2 import Wav2Vec2Encoder
from ..models.wav2vec2_config import Wav2Vec2Config
from ..seeding import Draws
from ..targets.ema import EmaConfig, EmaKeywordTeacher, EmaTeacher
from ..targets.layers import layer_mean, over_time, spread
from . import Loss, Objective
from ._parts import check_mask_embedding, check_spread, frame_mask, num_frames


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Data2VecRecipe(OneRoundRecipe):
    """What pretraining by data2vec is told, whatever encoder learns; the defaults are Base's."""

    mask: MaskConfig = MaskConfig(prob=0.65, min_spans=1)
    """Frames that are hidden."""
    top_layers: int = 8
    """Teacher layers averaged into the target, from the last back."""
    target_of: Literal["ffn", "layer"] = "ffn"
    """What is averaged of them: feed-forward outputs before the residual, or layers' outputs."""
    normalize_mean: bool = False
    """The average, too, is brought to zero mean and unit variance over each utterance."""
    targets: Literal["teacher", "shuffled", "noise"] = "teacher"
    """Other than the teacher's are controls, from which nothing can be learned of speech:
    `shuffled`, each utterance's own in an order drawn anew; `noise`, normal numbers."""
    ema: EmaConfig = EmaConfig()
    """How slowly the teacher follows."""
    smooth_l1_beta: float = 0.0
    """0: squared error; above: smooth L1, squared up to this."""
    check_after: int = 5_000
    """Updates after which a collapse ends the run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.top_layers <= self.encoder.num_layers:
            raise ValueError(
                f"top_layers must lie in [1, {self.encoder.num_layers}], the encoder's layers; got "
                f"{self.top_layers}"
            )
        if self.smooth_l1_beta < 0 or self.check_after < 0:
            raise ValueError("smooth_l1_beta and check_after must be 0 or more")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Recipe(Data2VecRecipe):
    """data2vec pretraining of an encoder of the wav2vec 2.0 family."""

    objective: Literal["data2vec"]
    """The paper that this recipe follows."""
    encoder: Wav2Vec2Config
    """The teacher's sizes."""

    def __post_init__(self) -> None:
        check_mask_embedding(self.encoder, self.objective)
        super().__post_init__()


class Data2Vec(Objective):
    """The student sees masked frames and predicts what the teacher makes of all of them."""

    def __init__(self, encoder: Wav2Vec2Encoder | KeywordEncoder, recipe: Data2VecRecipe) -> None:
        """Set up.

        Args:
            encoder: what learns.
            recipe: masks, targets and loss.
        """
        super().__init__()
        self.encoder = encoder
        self.recipe = recipe
        self.teacher = self.teacher_of(encoder)
        self.final_proj = nn.Linear(encoder.config.embed_dim, encoder.config.embed_dim)

    @staticmethod
    def teacher_of(encoder: Any) -> EmaTeacher | EmaKeywordTeacher:
        """What follows the encoder, from its first weights on."""
        # The reference copies the position embedding: averages of it are of no use to anyone.
        return EmaTeacher(encoder, copied=("pos_conv",))

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Squared error over hidden frames, each frame's divided by the root of its width."""
        recipe = self.recipe
        hidden = frame_mask(batch, self.encoder.config, recipe.mask, draws)
        frames = torch.from_numpy(hidden).to(batch.waveform.device)
        output = self.encoder(batch.waveform, batch.padded_lengths, frames)
        target = self._target(output.features.detach(), output.padding_mask)
        if recipe.targets != "teacher":
            target = self._control(target, batch, draws)
        rows, columns = (torch.from_numpy(index).to(frames.device) for index in hidden.nonzero())
        wanted = target[rows, columns]
        predicted = self.final_proj(output.output[rows, columns]).float()
        return Loss(
            regression(predicted, wanted, recipe.smooth_l1_beta),
            len(rows),
            {
                "target_std": spread(wanted),
                "prediction_std": spread(predicted),
                "feature_std": spread(output.features.detach()[rows, columns]),
                "mask_fraction": torch.tensor(float(hidden.mean())),
            },
        )

    @torch.no_grad()
    def _target(self, features: Tensor, padding_mask: Tensor | None) -> Tensor:
        """What the teacher makes of frames of which none is hidden: (batch, frames, embed_dim)."""
        recipe = self.recipe
        seen = self.teacher.contextualize(features, padding_mask)
        layers = seen.ffn_outputs if recipe.target_of == "ffn" else seen.hidden_states[1:]
        target = layer_mean(layers, padding_mask, top_layers=recipe.top_layers, normalize=True)
        return over_time(target, padding_mask) if recipe.normalize_mean else target

    def _control(self, target: Tensor, batch: Batch, draws: Draws) -> Tensor:
        """Targets that tell nothing of their frames, as `recipe.targets` says."""
        lengths = num_frames(batch, self.encoder.config)
        # Children of the rows' generators: these draw anew what has drawn the mask already.
        rngs = [rng.spawn(1)[0] for rng in draws.rows(batch.rows)]
        rows = []
        for row, length, rng in zip(target, lengths, rngs, strict=True):
            made = row.clone()
            if self.recipe.targets == "shuffled":
                made[:length] = row[torch.from_numpy(rng.permutation(length)).to(row.device)]
            else:
                noise = rng.standard_normal((length, row.shape[1]), dtype=np.float32)
                made[:length] = torch.from_numpy(noise).to(row.device)
            rows.append(made)
        return torch.stack(rows)

    def after_update(self, update: int) -> None:
        """The teacher follows."""
        self.teacher.follow(self.encoder, self.recipe.ema.decay(update))

    def check(self, update: int, metrics: Mapping[str, float]) -> None:
        """End a run whose targets or predictions no longer differ from frame to frame."""
        if update > self.recipe.check_after:
            check_spread(metrics, update)


build = Data2Vec


def regression(predicted: Tensor, wanted: Tensor, beta: float) -> Tensor:
    """Error of (frames, channels), summed; divided by the root of the channels, as the reference.

    Args:
        predicted: carries the gradient.
        wanted: the target.
        beta: 0 for the squared error, or where smooth L1 turns from squared to linear.
    """
    if beta == 0.0:
        error = functional.mse_loss(predicted, wanted, reduction="sum")
    else:
        error = functional.smooth_l1_loss(predicted, wanted, reduction="sum", beta=beta)
    scaled: Tensor = error / predicted.shape[-1] ** 0.5
    return scaled
