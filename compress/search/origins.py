"""Where a supernet comes from, and what it was distilled towards."""

import json
from dataclasses import dataclass
from pathlib import Path

from train.config import MaskConfig
from train.models.checkpoints import digest, load_config
from train.recipe import check

from .. import CompressError
from ..distill.stages import DistillRecipe
from ..folders import checkpoint_in
from ..supernet import FAMILY
from .scorers import Targets


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A supernet's checkpoint and what goes with it."""

    checkpoint: Path
    teacher: Path | None
    """The teacher's checkpoint; None: not at hand."""
    recipe: DistillRecipe | None
    """How it was distilled; None: not known."""

    @property
    def targets(self) -> Targets:
        """What it was distilled towards; LightHuBERT's own where it is not known."""
        if self.recipe is None:
            return Targets(
                mask=MaskConfig(prob=0.65), top_layers=8, normalize_targets=True, frames="masked"
            )
        return Targets(
            mask=self.recipe.mask,
            top_layers=self.recipe.top_layers,
            normalize_targets=self.recipe.normalize_targets,
            frames=self.recipe.frames,
        )


def origin_of(path: Path, teacher: Path | None = None) -> Origin:
    """Find out what a supernet was made from.

    Args:
        path: a run folder of `compress distill`, which knows its teacher, or a supernet's
            checkpoint.
        teacher: run folder or checkpoint; None: the run's own, if there is a run.

    Raises:
        TrainError, CompressError: no supernet, or its teacher was trained again or moved since.
    """
    checkpoint = checkpoint_in(path)
    provenance = load_config(checkpoint, FAMILY, "space", "target_dim").get("provenance", {})
    given = None if teacher is None else checkpoint_in(teacher)
    if checkpoint == path:
        return Origin(checkpoint=checkpoint, teacher=given, recipe=None)
    config = path / "config.json"
    if not config.is_file():
        raise CompressError(f"{path} is not a run of compress distill: no config.json")
    try:
        stored = json.loads(config.read_text(encoding="utf-8"))
        own = Path(stored["from"]["teacher"])
        recipe = check(stored["recipe"], DistillRecipe, str(config))
    except (ValueError, KeyError, TypeError):
        raise CompressError(f"{path} is not a run of compress distill") from None
    found = given or own
    if digest(found) != provenance.get("teacher"):
        raise CompressError(
            f"the teacher {found} is not the one that {path} was distilled from; name the right "
            "one with --teacher, or distil again"
        )
    return Origin(checkpoint=checkpoint, teacher=found, recipe=recipe)
