"""HuBERT: predict the cluster of each hidden frame (arXiv:2106.07447, section 2)."""

import numpy as np
import torch
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
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.units = units
        self.mask = mask
        self.temperature = temperature
        self.feature_penalty = feature_penalty
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
        targets[~frame_mask] = IGNORED
        device = batch.waveform.device
        output = self.encoder(
            batch.waveform, batch.lengths, torch.from_numpy(frame_mask).to(device)
        )
        # Frames are chosen by the CPU's mask: no device has to be asked how many there are.
        rows, columns = (torch.from_numpy(index).to(device) for index in np.nonzero(targets >= 0))
        wanted = torch.from_numpy(targets[targets >= 0]).to(device)
        logits = self.logits(output.output[rows, columns])
        cross_entropy = functional.cross_entropy(logits, wanted)
        penalty = output.conv_features.float().square().mean()
        with torch.no_grad():
            accuracy = (logits.argmax(-1) == wanted).float().mean()
        return Loss(
            cross_entropy + self.feature_penalty * penalty,
            {
                "cross_entropy": cross_entropy.detach(),
                "feature_penalty": penalty.detach(),
                "masked_accuracy": accuracy,
            },
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """(frames, embed_dim) to (frames, num_clusters): cosine over temperature, eq. 3."""
        projected = functional.normalize(self.final_proj(hidden).float(), dim=-1)
        embeddings = functional.normalize(self.unit_embeddings.float(), dim=-1)
        return projected @ embeddings.T / self.temperature
