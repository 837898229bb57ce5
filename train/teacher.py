"""One teacher: its encoder's first weights, its training, its checkpoint."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import run
from .config import PretrainRecipe
from .data.source import Source
from .distributed import rank, wait_for_all
from .errors import RecipeError
from .learner import Learner
from .models.checkpoints import load_objective
from .models.families import Encoder, family_of
from .objectives import Objective
from .placement import whole
from .seeding import seeded

_log = logging.getLogger(__name__)

_ENCODER, _TEACHER = "encoder.", "teacher."


def new_encoder(recipe: PretrainRecipe, init: Path | None) -> Encoder:
    """The encoder that will learn: random from the recipe's seed, or with a checkpoint's weights.

    A mask embedding that only one of the two has is left random, or left out.

    Raises:
        TrainError: `init` is no checkpoint, or one of other sizes; the first that differs is named.
    """
    family = family_of(recipe.encoder)
    with seeded(recipe.seed):
        encoder = family.build(recipe.encoder)
    if init is None:
        return encoder
    stored = family.load(init)
    for name in family.sizes:
        found, wanted = getattr(stored.config, name), getattr(recipe.encoder, name)
        if found != wanted:
            raise RecipeError(
                f"{init} has encoder.{name} {found!r} where the recipe has {wanted!r}; change the "
                "recipe or start from another checkpoint"
            )
    encoder.load_state_dict(stored.state_dict(), strict=False)
    return encoder


def take_heads(objective: Objective, recipe: PretrainRecipe, init: Path) -> None:
    """Start an objective's heads from a checkpoint that was trained by the recipe's own.

    A tensor of another shape stays random: the next round's units are others.
    """
    stored = load_objective(init, family_of(recipe.encoder).name)
    if stored is None or stored[0] != recipe.objective:
        return
    wanted = _heads(objective.state_dict())
    fitting = {
        key: tensor
        for key, tensor in stored[1].items()
        if key in wanted and wanted[key].shape == tensor.shape
    }
    objective.load_state_dict(fitting, strict=False)
    if left := sorted(wanted.keys() - fitting.keys()):
        _log.info("random, because %s has none that fit: %s", init, ", ".join(left))


def train_teacher(
    objective: Objective,
    recipe: PretrainRecipe,
    source: Source,
    folder: Path,
    model: Path,
    *,
    updates: int,
    provenance: Mapping[str, Any],
) -> None:
    """Fit an objective and save its encoder.

    Args:
        objective: with the encoder that learns as `objective.encoder`.
        recipe: rates, batches, devices.
        source: unlabelled audio.
        folder: gets metrics and state.
        model: becomes the checkpoint.
        updates: optimizer steps.
        provenance: what the teacher is made from, in JSON values.
    """
    learner = Learner(objective, recipe.optimizer, updates=updates, seed=recipe.seed)
    run.fit(learner, source, recipe.batch, recipe.log, folder, devices=recipe.devices)
    state = whole(objective.state_dict(), keep=rank() == 0)
    if rank() == 0:
        made_from = {"objective": recipe.objective, "seed": recipe.seed, **provenance}
        encoder = {
            name.removeprefix(_ENCODER): tensor
            for name, tensor in state.items()
            if name.startswith(_ENCODER)
        }
        heads = recipe.objective, _heads(state)
        save = family_of(recipe.encoder).save
        save(model, recipe.encoder, encoder, provenance=made_from, objective=heads)
    wait_for_all()


def _heads(state: Mapping[str, Any]) -> dict[str, Any]:
    """What an objective keeps beside its encoder; a teacher that follows it starts from it."""
    return {
        name: tensor for name, tensor in state.items() if not name.startswith((_ENCODER, _TEACHER))
    }
