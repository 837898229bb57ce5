"""HuBERT: predict the cluster of each hidden frame (arXiv:2106.07447, section 2)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..config import MaskConfig
from ..data.batches import Batch
from ..data.masking import span_mask
from ..models.frontend import SAMPLE_RATE
from ..models.wav2vec2 import Wav2Vec2Encoder
from ..targets.units import IGNORED, Units
from . import Loss, Objective


class Hubert(Objective):
    """Cosine logits against unit embeddings, cross-entropy over the masked frames."""

    def __init__(
        self,
        encoder: Wav2Vec2Encoder,
        units: Units,
        *,
        mask: MaskConfig,
        final_dim: int,
        temperature: float,
        feature_penalty: float,
        masked_share: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.units = units
        self.mask = mask
        self.temperature = temperature
        self.feature_penalty = feature_penalty
        self.masked_share = masked_share
        self.final_proj = nn.Linear(encoder.config.embed_dim, final_dim)
        self.unit_embeddings = nn.Parameter(torch.rand(units.num_clusters, final_dim))

    def forward(self, batch: Batch, rng: np.random.Generator) -> Loss:
        """Loss per masked frame, and the accuracy over masked frames."""
        config = self.encoder.config
        lengths = [config.num_frames(int(length)) for length in batch.num_samples]
        frame_mask = span_mask(
            lengths,
            mask_prob=self.mask.prob,
            span=self.mask.span,
            min_spans=self.mask.min_spans,
            rng=rng,
        )
        targets = self.units.aligned(
            batch.cut_ids,
            batch.starts,
            frame_mask.shape[1],
            stride=config.stride_samples,
            rate=SAMPLE_RATE,
        )
        device = batch.waveform.device
        output = self.encoder(
            batch.waveform, batch.lengths, torch.from_numpy(frame_mask).to(device)
        )
        masked, accuracy = self._cross_entropy(output.output, targets, frame_mask)
        loss = self.masked_share * masked
        if self.masked_share < 1.0:
            unmasked, _ = self._cross_entropy(output.output, targets, ~frame_mask)
            loss = loss + (1.0 - self.masked_share) * unmasked
        penalty = _mean_square(output.conv_features, output.padding_mask)
        return Loss(
            loss + self.feature_penalty * penalty,
            {
                "cross_entropy": masked.detach(),
                "feature_penalty": penalty.detach(),
                "masked_accuracy": accuracy,
            },
        )

    def _cross_entropy(
        self, hidden: Tensor, targets: NDArray[np.int64], chosen: NDArray[np.bool_]
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and accuracy over the chosen frames that have a unit."""
        # The frames are found on the CPU: no device has to be asked how many there are.
        places = np.nonzero(chosen & (targets != IGNORED))
        rows, columns = (torch.from_numpy(index).to(hidden.device) for index in places)
        wanted = torch.from_numpy(targets[places]).to(hidden.device)
        logits = self.logits(hidden[rows, columns])
        if not len(wanted):  # the mean over nothing is no number, and would spoil every weight
            return logits.sum(), logits.new_zeros(())
        accuracy = (logits.detach().argmax(-1) == wanted).float().mean()
        return functional.cross_entropy(logits, wanted), accuracy

    def logits(self, hidden: Tensor) -> Tensor:
        """(frames, embed_dim) to (frames, num_clusters): cosine over temperature, eq. 3."""
        projected = functional.normalize(self.final_proj(hidden).float(), dim=-1)
        embeddings = functional.normalize(self.unit_embeddings.float(), dim=-1)
        return projected @ embeddings.T / self.temperature


def _mean_square(features: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Mean square over frames that are not padding: (batch, frames, channels) to a scalar."""
    by_frame = features.float().square().mean(-1)
    if padding_mask is None:
        return by_frame.mean()
    valid = (~padding_mask).to(by_frame.dtype)
    return (by_frame * valid).sum() / valid.sum()
