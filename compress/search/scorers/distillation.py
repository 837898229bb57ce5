"""Distillation loss on held-out audio: how well a subnet predicts what the teacher makes of it.

Clips, masks and targets are the same for every subnet. Where the teacher is not at hand, the
largest subnet stands in for it: its predictions on the whole audio, which it learned from the
teacher, are the targets.
"""

import logging

import numpy as np
import torch
from torch import Tensor

from train.data.batches import FixedBatches

from ...distill.lighthubert import (
    check_teacher,
    distillation_error,
    student_mask,
    teacher_target,
)
from ...subnet import Subnet
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
    shared = SharedFeatures(supernet, batches)
    rng = np.random.default_rng(setting.seed)
    masks = [
        torch.from_numpy(student_mask(batch, supernet, targets.mask, rng)) for batch in batches
    ]
    if teacher is None:
        _log.info("no teacher is at hand: subnets are compared with the largest of them")
        wanted = [_largest(shared, index) for index in range(len(batches))]
    else:
        wanted = [
            teacher_target(
                teacher.eval(),
                batch,
                top_layers=targets.top_layers,
                normalize=targets.normalize_targets,
            )
            for batch in batches
        ]
    _log.info("scoring on %d held-out clips", len(cuts))

    @torch.no_grad()
    def score(subnet: Subnet) -> float:
        """Mean loss per clip."""
        total = 0.0
        for index, (batch, mask, target) in enumerate(zip(batches, masks, wanted, strict=True)):
            output = shared.encode(subnet, index, mask)
            error = distillation_error(
                supernet.predict(output), target, mask, output.padding_mask, targets.frames
            )
            total += float(error) * len(batch.cut_ids)
        return total / len(cuts)

    return score


@torch.no_grad()
def _largest(shared: SharedFeatures, index: int) -> Tensor:
    supernet = shared.supernet
    return supernet.predict(shared.encode(supernet.space.largest(), index))
