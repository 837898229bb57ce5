"""Distillation in two stages: the largest subnet first, then all of them at once."""

import logging
from pathlib import Path
from typing import Literal

from lhotse import CutSet
from pydantic.dataclasses import dataclass

from train import run
from train.config import (
    STRICT,
    BatchConfig,
    DeviceConfig,
    LogConfig,
    MaskConfig,
    OptimizerConfig,
    Seed,
)
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus, usable
from train.data.source import Recordings
from train.learner import Learner
from train.models.checkpoints import digest
from train.models.wav2vec2 import load_encoder
from train.seeding import seeded

from ..spaces import get_space
from ..supernet import Supernet, load_supernet, save_supernet
from .lighthubert import LightHubert

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DistillRecipe:
    """LightHuBERT's two stages; defaults where the authors state them."""

    scheme: Literal["lighthubert"]
    """The paper that this recipe follows."""
    space: str
    """Which subnets the supernet holds (compress recipes lists the spaces)."""
    top_layers: int = 8
    """Teacher layers averaged into the target, from the last back."""
    normalize_targets: bool = True
    """Zero mean and unit variance over time for each layer, as data2vec."""
    frames: Literal["masked", "all"] = "masked"
    """Which frames the loss counts."""
    mask: MaskConfig = MaskConfig(prob=0.65)
    """Frames hidden from the student."""
    stage1_updates: int
    """Optimizer steps on the largest subnet."""
    stage2_updates: int
    """Optimizer steps on subnets drawn uniformly."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Rates and decays of either stage."""
    batch: BatchConfig = BatchConfig()
    """Audio of an update."""
    log: LogConfig = LogConfig()
    """When to log and save."""
    seed: Seed = 0
    """Of weights, masks, subnets, crops and dropout."""

    def __post_init__(self) -> None:
        if min(self.top_layers, self.stage1_updates, self.stage2_updates) < 1:
            raise ValueError("top_layers, stage1_updates and stage2_updates must be 1 or more")


def distill(recipe: DistillRecipe, teacher: Path, data: Path, out: Path, *, resume: bool) -> Path:
    """Run the stages that are not done yet.

    Args:
        recipe: space, stages and rates.
        teacher: an encoder's checkpoint.
        data: a corpus; its train partition is used, labels are not.
        out: the run folder.
        resume: go on in a folder that was started with the same recipe.

    Returns:
        the supernet's checkpoint, `out/model`.

    Raises:
        TrainError, CompressError: teacher, space, data or folder cannot be used.
    """
    space = get_space(recipe.space)
    made_from = {"data": data.resolve().name, "teacher": str(teacher.resolve())}
    run.check(out, recipe, resume=resume, **made_from)
    if (out / "model").is_dir():
        run.finish(out / "stage2")
        return out / "model"
    corpus = read_corpus(data)
    cuts = usable(corpus, partition="train", min_seconds=recipe.batch.min_seconds)
    packed = PackedAudio.of(corpus, progress=True)
    target_dim = load_encoder(teacher).config.embed_dim
    run.start(out, recipe, resume=resume, **made_from)
    first = out / "stage1" / "model"
    if not first.is_dir():
        _log.info("stage 1: the largest subnet of %s", space.name)
        with seeded(recipe.seed):
            supernet = Supernet(space, target_dim)
        _train(recipe, teacher, supernet, cuts, packed, out / "stage1", sampled=False)
        save_supernet(first, supernet, provenance={"teacher": digest(teacher)})
    run.finish(out / "stage1")
    _log.info("stage 2: all %s subnets of %s", f"{space.size():,}", space.name)
    supernet = load_supernet(first)
    _train(recipe, teacher, supernet, cuts, packed, out / "stage2", sampled=True)
    save_supernet(out / "model", supernet, provenance={"teacher": digest(teacher)})
    run.finish(out / "stage2")
    return out / "model"


def _train(
    recipe: DistillRecipe,
    teacher: Path,
    supernet: Supernet,
    cuts: CutSet,
    packed: PackedAudio,
    folder: Path,
    *,
    sampled: bool,
) -> None:
    objective = LightHubert(
        load_encoder(teacher),
        supernet,
        mask=recipe.mask,
        top_layers=recipe.top_layers,
        normalize_targets=recipe.normalize_targets,
        frames=recipe.frames,
        sampled=sampled,
    )
    updates = recipe.stage2_updates if sampled else recipe.stage1_updates
    learner = Learner(objective, recipe.optimizer, updates=updates, seed=recipe.seed)
    run.fit(
        learner, Recordings(cuts, packed), recipe.batch, recipe.log, folder, devices=DeviceConfig()
    )
