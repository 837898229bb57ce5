"""What a distillation will take: arithmetic and hours, in closed form; nothing is trained."""

from typing import Any

import numpy as np

from train.models.wav2vec2_config import Wav2Vec2Config

from ..cost.macs import SAMPLE_RATE, macs
from ..costing import hours_on_gpus
from ..spaces import Space, get_space
from ..subnet import Subnet
from .sampling import get_sampling
from .stages import DistillRecipe

_DRAWS = 500
"""Updates over which what a sampling takes is averaged: to within a few percent."""


def distillation_cost(
    recipe: DistillRecipe, teacher: Wav2Vec2Config, tflops: float | None = None
) -> dict[str, Any]:
    """Everything that can be told of a recipe and a teacher without data.

    Utterances are taken to be as long as a crop. A multiply-accumulate is 2 operations; a backward
    pass takes twice its forward pass, so that what learns costs 6 and the teacher 2.

    Args:
        recipe: space, stages and batches.
        teacher: its sizes.
        tflops: what a GPU sustains, in 10^12 operations per second; None: `costing.TFLOPS`.
    """
    space, crop = get_space(recipe.space), round(recipe.batch.crop_seconds * SAMPLE_RATE)
    by_teacher = macs(teacher, crop).total
    largest = _student_macs(space, space.largest(), teacher.embed_dim, crop)
    smallest = _student_macs(space, space.smallest(), teacher.embed_dim, crop)
    drawn = _mean_macs(recipe, space, teacher.embed_dim, crop)
    crops = recipe.batch.seconds / recipe.batch.crop_seconds
    flops = {
        "stage_1_flops": (6 * largest + 2 * by_teacher) * crops * recipe.stage1_updates,
        "stage_2_flops": (6 * drawn + 2 * by_teacher) * crops * recipe.stage2_updates,
    }

    def by_second(multiplied: float) -> float:
        return round(multiplied / recipe.batch.crop_seconds / 1e9, 3)

    return {
        "gmacs_per_second_of_audio": {
            "teacher": by_second(by_teacher),
            "largest_subnet": by_second(largest),
            "smallest_subnet": by_second(smallest),
            "subnets_of_an_update": by_second(drawn),
        },
        **flops,
        **hours_on_gpus(sum(flops.values()), tflops),
    }


def _mean_macs(recipe: DistillRecipe, space: Space, target_dim: int, num_samples: int) -> float:
    """Forward multiply-accumulates of all subnets of an update of stage 2, on average."""
    draw, rng = get_sampling(recipe.sampling).draw, np.random.default_rng(recipe.seed)
    updates = (draw(space, rng, num_random=recipe.num_random) for _ in range(_DRAWS))
    return float(
        np.mean(
            [
                sum(_student_macs(space, subnet, target_dim, num_samples) for subnet in subnets)
                for subnets in updates
            ]
        )
    )


def _student_macs(space: Space, subnet: Subnet, target_dim: int, num_samples: int) -> int:
    """Of one forward pass, the head included."""
    config = space.config(subnet)
    head = config.num_frames(num_samples) * subnet.embed_dim * target_dim
    return macs(config, num_samples).total + head
