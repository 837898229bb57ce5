"""data2vec: regress a moving-average teacher's layers at the hidden frames (arXiv:2202.03555)."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT, MaskConfig, OneRoundRecipe
from ..data.batches import Batch
from ..models.wav2vec2 import Wav2Vec2Encoder
from ..models.wav2vec2_config import Wav2Vec2Config
from ..seeding import Draws
from ..targets.ema import EmaConfig, EmaTeacher
from ..targets.layers import layer_mean, spread
from . import Loss, Objective
from ._parts import check_mask_embedding, check_spread, frame_mask


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Recipe(OneRoundRecipe):
    """data2vec pretraining; the defaults are Base's."""

    objective: Literal["data2vec"]
    """The paper that this recipe follows."""
    encoder: Wav2Vec2Config
    """The teacher's sizes."""
    mask: MaskConfig = MaskConfig(prob=0.65, min_spans=1)
    """Frames that are hidden."""
    top_layers: int = 8
    """Teacher layers averaged into the target, from the last back."""
    ema: EmaConfig = EmaConfig()
    """How slowly the teacher follows."""
    smooth_l1_beta: float = 0.0
    """0: squared error; above: smooth L1, squared up to this."""
    check_after: int = 5_000
    """Updates after which a collapse ends the run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mask_embedding(self.encoder, self.objective)
        if not 1 <= self.top_layers <= self.encoder.num_layers:
            raise ValueError(
                f"top_layers must lie in [1, {self.encoder.num_layers}], the encoder's layers; got "
                f"{self.top_layers}"
            )
        if self.smooth_l1_beta < 0 or self.check_after < 0:
            raise ValueError("smooth_l1_beta and check_after must be 0 or more")


class Data2Vec(Objective):
    """The student sees masked frames, the teacher all of them; both share the conv features."""

    def __init__(self, encoder: Wav2Vec2Encoder, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = encoder
        self.recipe = recipe
        # The reference copies the position embedding: averages of it are of no use to anyone.
        self.teacher = EmaTeacher(encoder, copied=("pos_conv",))
        self.final_proj = nn.Linear(encoder.config.embed_dim, encoder.config.embed_dim)

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Squared error over hidden frames, each frame's divided by the root of its width."""
        recipe = self.recipe
        hidden = frame_mask(batch, self.encoder.config, recipe.mask, draws)
        frames = torch.from_numpy(hidden).to(batch.waveform.device)
        output = self.encoder(batch.waveform, batch.padded_lengths, frames)
        with torch.no_grad():
            seen = self.teacher.contextualize(output.features.detach(), output.padding_mask)
            target = layer_mean(
                seen.ffn_outputs, output.padding_mask, top_layers=recipe.top_layers, normalize=True
            )
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
