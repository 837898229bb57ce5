"""Score a subnet by its distillation loss on held-out audio, everything shared computed once."""

import logging

import numpy as np
import torch
from lhotse import CutSet
from torch import Tensor

from train.config import MaskConfig
from train.data.audio import PackedAudio
from train.data.batches import Batch, FixedBatches
from train.models.wav2vec2 import Wav2Vec2Encoder

from ..distill.lighthubert import (
    Frames,
    check_teacher,
    distillation_loss,
    student_mask,
    teacher_target,
)
from ..subnet import Subnet
from ..supernet import Supernet

_log = logging.getLogger(__name__)


class DistillationScorer:
    """Mean L1 over fixed clips, fixed masks and the teacher's targets, which are kept."""

    def __init__(
        self,
        teacher: Wav2Vec2Encoder,
        supernet: Supernet,
        cuts: CutSet,
        packed: PackedAudio,
        *,
        mask: MaskConfig,
        top_layers: int,
        normalize_targets: bool,
        frames: Frames,
        seed: int,
    ) -> None:
        """Run the teacher once over all clips.

        Args:
            teacher: what the supernet was distilled from.
            supernet: holds every subnet.
            cuts: held-out clips.
            packed: their audio.
            mask: as in the distillation.
            top_layers: as in the distillation.
            normalize_targets: as in the distillation.
            frames: as in the distillation.
            seed: of the masks.
        """
        check_teacher(teacher, supernet, top_layers)
        self.supernet = supernet.eval()
        self.frames: Frames = frames
        rng = np.random.default_rng(seed)
        self._held: list[tuple[Batch, Tensor, Tensor]] = []
        for batch in FixedBatches(cuts, packed, batch_size=16):
            frame_mask = torch.from_numpy(student_mask(batch, supernet, mask, rng))
            target = teacher_target(
                teacher.eval(), batch, top_layers=top_layers, normalize=normalize_targets
            )
            self._held.append((batch, frame_mask, target))
        _log.info("scoring on %d held-out clips", len(cuts))

    @torch.no_grad()
    def __call__(self, subnet: Subnet) -> float:
        """Mean loss per clip; lower is better."""
        total, clips = 0.0, 0
        for batch, frame_mask, target in self._held:
            loss = distillation_loss(self.supernet, subnet, batch, frame_mask, target, self.frames)
            total += float(loss) * len(batch.cut_ids)
            clips += len(batch.cut_ids)
        return total / clips
