"""Distillation in two stages: the largest subnet first, then all of them at once."""

import logging
from pathlib import Path
from typing import Literal

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
from train.data.source import Source, open_source
from train.distributed import first_process_first, from_first, joined, rank, wait_for_all
from train.learner import Learner
from train.models.checkpoints import digest
from train.models.wav2vec2 import load_encoder
from train.nearest import nearest

from ..spaces import get_space
from ..supernet import Supernet, load_supernet, save_supernet
from .lighthubert import LightHubert
from .sampling import sampling_names
from .start import begun

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DistillRecipe:
    """LightHuBERT's two stages; defaults where the authors state them."""

    scheme: Literal["lighthubert"]
    """The paper that this recipe follows."""
    space: str
    """Which subnets the supernet holds (compress recipes lists the spaces)."""
    start: Literal["random", "teacher"] = "random"
    """Weights before the first update; the teacher's, where the space stores its sizes."""
    top_layers: int = 8
    """Teacher layers averaged into the target, from the last back."""
    normalize_targets: bool = True
    """Zero mean and unit variance over time for each layer, as data2vec."""
    frames: Literal["masked", "all"] = "masked"
    """Which frames the loss counts."""
    mask: MaskConfig = MaskConfig(prob=0.65)
    """Frames hidden from the student."""
    sampling: str = "uniform"
    """Which subnets an update of stage 2 trains: a file of compress/distill/sampling."""
    num_random: int = 2
    """Subnets between the extremes in an update of `sandwich`; the others draw one in all."""
    stage1_updates: int
    """Optimizer steps on the largest subnet; 0: one-stage training, stage 2 from the start."""
    stage2_updates: int
    """Optimizer steps on subnets drawn by `sampling`."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Rates and decays of either stage."""
    batch: BatchConfig = BatchConfig()
    """Audio of an update."""
    devices: DeviceConfig = DeviceConfig()
    """Precision, and what several processes share; a supernet's weights are whole on each."""
    log: LogConfig = LogConfig()
    """When to log and save."""
    seed: Seed = 0
    """Of weights, masks, subnets, crops and dropout."""

    def __post_init__(self) -> None:
        if min(self.top_layers, self.stage2_updates) < 1 or self.stage1_updates < 0:
            raise ValueError(
                "top_layers and stage2_updates must be 1 or more, stage1_updates 0 or more; got "
                f"{self.top_layers}, {self.stage2_updates}, {self.stage1_updates}"
            )
        if self.sampling not in sampling_names():
            raise ValueError(
                f"unknown sampling {self.sampling!r}: {nearest(self.sampling, sampling_names())}"
            )
        if self.num_random < 0:
            raise ValueError(f"num_random must be 0 or more, got {self.num_random}")
        if self.devices.strategy != "ddp":
            raise ValueError(
                f"devices.strategy must be 'ddp' for a supernet, got {self.devices.strategy!r}: "
                "subnets are cut from whole weights, and fsdp deals out parts; for memory, lower "
                "batch.device_seconds"
            )


def distill(
    recipe: DistillRecipe,
    teacher: Path,
    data: Path,
    out: Path,
    *,
    resume: bool,
    init: Path | None = None,
) -> Path:
    """Run the stages that are not done yet, in this process or with those that torchrun started.

    Args:
        recipe: space, stages and rates.
        teacher: an encoder's checkpoint.
        data: a corpus; its train partition is used, labels are not.
        out: the run folder.
        resume: go on in a folder that was started with the same recipe.
        init: what the first stage starts from, of the same stored sizes: a supernet's checkpoint,
            of whatever space, or an encoder's. None: what the recipe's `start` says.

    Returns:
        the supernet's checkpoint, `out/model`.

    Raises:
        TrainError, CompressError: teacher, space, data or folder cannot be used.
    """
    space = get_space(recipe.space)
    made_from = {"data": data.resolve().name, "teacher": str(teacher.resolve())}
    if init is not None:
        made_from["init"] = digest(init)
    with joined():
        with first_process_first():
            run.check(out, recipe, resume=resume, **made_from)
        if not from_first((out / "model").is_dir()):
            with first_process_first():
                source = open_source(data, min_seconds=recipe.batch.min_seconds)
                width = load_encoder(teacher).config.embed_dim
                first = teacher if init is None and recipe.start == "teacher" else init
                supernet = begun(space, width, first, seed=recipe.seed)
                run.start(out, recipe, resume=resume, **made_from)
            _train_stages(recipe, teacher, supernet, source, out)
        run.finish(out / "stage2")
    return out / "model"


def _train_stages(
    recipe: DistillRecipe, teacher: Path, supernet: Supernet, source: Source, out: Path
) -> None:
    """Train `supernet` by each stage, which begins with what the one before has saved."""
    space, first = supernet.space, out / "stage1" / "model"
    if recipe.stage1_updates:
        if not from_first(first.is_dir()):
            _say(f"stage 1: the largest subnet of {space.name}")
            _train(recipe, teacher, supernet, source, out, sampling=None)
        run.finish(out / "stage1")
        supernet = load_supernet(first)
    _say(f"stage 2: all {space.size():,} subnets of {space.name}")
    _train(recipe, teacher, supernet, source, out, sampling=recipe.sampling)


def _say(message: str) -> None:
    if rank() == 0:
        _log.info(message)


def _train(
    recipe: DistillRecipe,
    teacher: Path,
    supernet: Supernet,
    source: Source,
    out: Path,
    *,
    sampling: str | None,
) -> None:
    """Fit the largest subnet (stage 1) or those of a sampling (stage 2), and save the supernet."""
    objective = LightHubert(
        load_encoder(teacher),
        supernet,
        mask=recipe.mask,
        top_layers=recipe.top_layers,
        normalize_targets=recipe.normalize_targets,
        frames=recipe.frames,
        sampling=sampling,
        num_random=recipe.num_random,
    )
    if sampling is None:
        updates, folder, model = recipe.stage1_updates, out / "stage1", out / "stage1" / "model"
    else:
        updates, folder, model = recipe.stage2_updates, out / "stage2", out / "model"
    learner = Learner(objective, recipe.optimizer, updates=updates, seed=recipe.seed)
    run.fit(learner, source, recipe.batch, recipe.log, folder, devices=recipe.devices)
    if rank() == 0:
        save_supernet(model, supernet, provenance={"teacher": digest(teacher)})
    wait_for_all()
