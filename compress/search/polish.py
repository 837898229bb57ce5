"""Distil a search's winner alone for more updates: its weights need not serve others any more."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from train import run
from train.config import DeviceConfig, OptimizerConfig
from train.data.source import open_source
from train.learner import Learner
from train.models.wav2vec2 import load_encoder
from train.seeding import Draws

from ..distill.lighthubert import LightHubert
from ..subnet import Subnet
from ..supernet import Supernet
from . import SearchError
from .origins import Origin


class OneSubnet(LightHubert):
    """LightHuBERT's distillation of the same subnet in every update."""

    def __init__(self, subnet: Subnet, *args: Any, **settings: Any) -> None:
        """Take a subnet, and what LightHubert takes but a rule for subnets."""
        super().__init__(*args, sampling=None, **settings)
        self.subnet = subnet

    def subnets(self, draws: Draws) -> tuple[Subnet, ...]:
        """The one."""
        return (self.subnet,)


def check_origin(origin: Origin) -> None:
    """Make sure that there is something to polish with.

    Raises:
        SearchError: the supernet comes without a teacher or without its recipe.
    """
    if origin.recipe is None or origin.teacher is None:
        raise SearchError(
            "polishing the winner needs a supernet that comes with its run of compress distill and "
            "its teacher; set --polish-updates 0, or name that run"
        )


def polish(
    supernet: Supernet,
    subnet: Subnet,
    origin: Origin,
    data: Path,
    folder: Path,
    *,
    updates: int,
    seed: int,
) -> None:
    """Train the slices of a subnet in place, as its supernet was distilled.

    Args:
        supernet: holds the subnet; its weights change.
        subnet: what is trained.
        origin: recipe and teacher of the supernet, both there.
        data: a corpus; its train partition is used.
        folder: state to resume from while it lasts.
        updates: optimizer steps; the rate warms up over a tenth of them at most, then falls.
        seed: of batches, masks and dropout.
    """
    recipe = origin.recipe
    assert recipe is not None, "check_origin was asked first"
    assert origin.teacher is not None, "check_origin was asked first"
    targets = origin.targets
    objective = OneSubnet(
        subnet,
        load_encoder(origin.teacher),
        supernet,
        mask=targets.mask,
        top_layers=targets.top_layers,
        normalize_targets=targets.normalize_targets,
        frames=targets.frames,
    )
    learner = Learner(objective, briefly(recipe.optimizer, updates), updates=updates, seed=seed)
    source = open_source(data, min_seconds=recipe.batch.min_seconds)
    run.fit(learner, source, recipe.batch, recipe.log, folder, devices=DeviceConfig())


def briefly(optimizer: OptimizerConfig, updates: int) -> OptimizerConfig:
    """The same rates on a schedule of so many updates."""
    return replace(
        optimizer,
        warmup_updates=min(optimizer.warmup_updates, updates // 10),
        schedule="linear",
        decay_updates=0,
    )
