"""HuBERT: predict the cluster of each hidden frame (arXiv:2106.07447, section 2)."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT, MaskConfig, PretrainRecipe
from ..data.batches import Batch
from ..models.frontend import SAMPLE_RATE
from ..models.wav2vec2 import Wav2Vec2Encoder
from ..models.wav2vec2_config import Wav2Vec2Config
from ..seeding import Draws
from ..targets.units import IGNORED, Units
from . import Loss, Objective
from ._parts import check_mask_embedding, feature_penalty, frame_mask, num_frames, unmixed


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RoundConfig:
    """One round: where its units come from and how long it trains."""

    units: Literal["mfcc", "layer"]
    """`mfcc`: 39-dimensional MFCCs at 100 Hz; `layer`: a layer of the round before, or in the
    first round of another teacher, --units-from."""
    layer: int = 6
    """Which one, counted from 1; HuBERT Base takes the 6th."""
    num_clusters: int
    """Size of the code book: 100, then 500, in the paper."""
    fit_frames: int = 1_000_000
    """Frames that k-means sees; all are labelled."""
    updates: int
    """Optimizer steps: 250 k, then 400 k, in the paper."""

    def __post_init__(self) -> None:
        if min(self.num_clusters, self.fit_frames, self.updates, self.layer) < 1:
            raise ValueError("layer, num_clusters, fit_frames and updates must be 1 or more")
        if self.fit_frames < self.num_clusters:
            raise ValueError(
                f"fit_frames must be num_clusters or more, got {self.fit_frames} frames for "
                f"{self.num_clusters} clusters"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Recipe(PretrainRecipe):
    """HuBERT pretraining; the defaults are Base's."""

    objective: Literal["hubert"]
    """The paper that this recipe follows."""
    encoder: Wav2Vec2Config
    """The teacher's sizes."""
    mask: MaskConfig = MaskConfig()
    """Frames that are hidden."""
    rounds: tuple[RoundConfig, ...]
    """One after the other; each starts from random weights."""
    final_dim: int = 256
    """Width in which frames meet units."""
    temperature: float = 0.1
    """Cosines are divided by this."""
    masked_share: float = 1.0
    """Weight of a hidden frame (alpha, eq. 2); that of a visible one is the rest."""
    feature_penalty: float = 10.0
    """Weight of the mean square of the conv features."""

    def __post_init__(self) -> None:
        check_mask_embedding(self.encoder, self.objective)
        if self.final_dim < 1 or self.temperature <= 0 or self.feature_penalty < 0:
            raise ValueError(
                "final_dim must be 1 or more, temperature positive, feature_penalty 0 or more; got "
                f"{self.final_dim}, {self.temperature}, {self.feature_penalty}"
            )
        if not 0.0 < self.masked_share <= 1.0:
            raise ValueError(f"masked_share must lie in (0, 1], got {self.masked_share}")
        if not self.rounds:
            raise ValueError("rounds must hold one or more")


class Hubert(Objective):
    """Cosine logits against unit embeddings, cross-entropy over the masked frames."""

    def __init__(self, encoder: Wav2Vec2Encoder, recipe: Recipe, units: Units) -> None:
        """Set up.

        Args:
            encoder: what is pretrained.
            recipe: head, temperature and weights.
            units: what each frame of the corpus is.
        """
        super().__init__()
        self.encoder = encoder
        self.recipe = recipe
        self.units = units
        self.final_proj = nn.Linear(encoder.config.embed_dim, recipe.final_dim)
        self.unit_embeddings = nn.Parameter(torch.rand(units.num_clusters, recipe.final_dim))

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Cross-entropy summed over frames, hidden ones weighing most, and the feature penalty."""
        hidden = frame_mask(batch, self.encoder.config, self.recipe.mask, draws)
        targets = self.units.aligned(
            batch.cut_ids,
            batch.starts,
            hidden.shape[1],
            stride=self.encoder.config.stride_samples,
            rate=SAMPLE_RATE,
        )
        device = batch.waveform.device
        output = self.encoder(
            batch.waveform, batch.padded_lengths, torch.from_numpy(hidden).to(device)
        )
        share = self.recipe.masked_share
        masked, accuracy, count = self._cross_entropy(output.output, targets, hidden)
        total, weight = share * masked, share * count
        if share < 1.0:
            lengths = np.array(num_frames(batch, self.encoder.config))
            shown = ~hidden & (np.arange(hidden.shape[1]) < lengths[:, None])
            visible, _, num_visible = self._cross_entropy(output.output, targets, shown)
            total = total + (1.0 - share) * visible
            weight += (1.0 - share) * num_visible
        penalty = feature_penalty(output.conv_features, output.padding_mask)
        return Loss(
            total + self.recipe.feature_penalty * weight * penalty,
            weight,
            {
                "cross_entropy": masked.detach() / max(count, 1),
                "feature_penalty": penalty.detach(),
                "masked_accuracy": accuracy,
                "mask_fraction": torch.tensor(float(hidden.mean())),
            },
        )

    def _cross_entropy(
        self, hidden: Tensor, targets: NDArray[np.int64], chosen: NDArray[np.bool_]
    ) -> tuple[Tensor, Tensor, int]:
        """Summed cross-entropy, accuracy and number of the chosen frames that have a unit."""
        # The frames are found on the CPU: no device has to be asked how many there are.
        places = np.nonzero(chosen & (targets != IGNORED))
        rows, columns = (torch.from_numpy(index).to(hidden.device) for index in places)
        wanted = torch.from_numpy(targets[places]).to(hidden.device)
        logits = self.logits(hidden[rows, columns])
        hits = (logits.detach().argmax(-1) == wanted).float().sum()
        entropy = functional.cross_entropy(logits, wanted, reduction="sum")
        return entropy, hits / max(len(wanted), 1), len(wanted)

    def logits(self, hidden: Tensor) -> Tensor:
        """(frames, embed_dim) to (frames, num_clusters): cosine over temperature, eq. 3."""
        projected = functional.normalize(self.final_proj(hidden).float(), dim=-1)
        embeddings = functional.normalize(self.unit_embeddings.float(), dim=-1)
        with unmixed(hidden.device):
            return projected @ embeddings.T / self.recipe.temperature
