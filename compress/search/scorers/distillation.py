"""Distillation loss on held-out audio: how well a subnet predicts what the teacher makes of it.

Clips, masks and targets are the same for every subnet. Where the teacher is not at hand, the
largest subnet stands in for it: its predictions on the whole audio, which it learned from the
teacher, are the targets.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from train.data.batches import Batch, FixedBatches

from ...distill.lighthubert import (
    check_teacher,
    distillation_error,
    lead_samples,
    student_mask,
    teacher_target,
)
from ...subnet import Subnet
from ...supernet import Supernet
from ..shared import SharedFeatures
from . import Scorer, Setting
from ._clips import held_out

_BATCH = 16

_log = logging.getLogger(__name__)


def build(setting: Setting) -> Scorer:
    """Choose clips and masks, and make their targets."""
    teacher, supernet, targets = setting.teacher, setting.supernet, setting.targets
    if teacher is not None:
        check_teacher(teacher, supernet, targets.top_layers)
    cuts = held_out(setting, "valid")
    batches = list(FixedBatches(cuts, setting.packed, batch_size=_BATCH))
    rng = np.random.default_rng(setting.seed)
    masks = [
        torch.from_numpy(student_mask(batch, supernet, targets.mask, rng)) for batch in batches
    ]
    shared = SharedFeatures(supernet, batches, masks)
    if teacher is None:
        _log.info("no teacher is at hand: subnets are compared with the largest of them")
        wanted = _of_the_largest(supernet, batches)
    else:
        wanted = [
            teacher_target(
                teacher.eval(),
                batch,
                top_layers=targets.top_layers,
                normalize=targets.normalize_targets,
                lead_samples=lead_samples(teacher, supernet.encoder.config),
            )
            for batch in batches
        ]
    _log.info("scoring on %d held-out clips", len(cuts))

    @torch.no_grad()
    def score(subnet: Subnet) -> float:
        """Mean loss per clip."""
        total = 0.0
        for batch, mask, target, encoded in zip(
            batches, masks, wanted, shared.encode(subnet), strict=True
        ):
            predicted = supernet.predict(encoded.output)
            error = distillation_error(
                predicted, target, mask, encoded.padding_mask, targets.frames
            )
            total += float(error) * len(batch.cut_ids)
        return total / len(cuts)

    return score


@torch.no_grad()
def _of_the_largest(supernet: Supernet, batches: Sequence[Batch]) -> list[Tensor]:
    """Targets from the whole audio."""
    largest = supernet.space.largest()
    supernet.eval()
    return [
        supernet.predict(supernet(largest, batch.waveform, batch.lengths).output)
        for batch in batches
    ]
