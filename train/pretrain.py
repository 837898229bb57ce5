"""Pretrain a teacher by any objective: one recipe, one run folder, one checkpoint."""

import importlib
import logging
import pkgutil
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from . import objectives, run
from .config import OneRoundRecipe, PretrainRecipe
from .data.source import Source, open_source
from .distributed import first_process_first, joined, rank
from .errors import RecipeError
from .models.checkpoints import digest
from .nearest import nearest
from .objectives.hubert import Recipe as HubertRecipe
from .recipe import find_recipe, load_recipe
from .report import write_report
from .rounds import train_rounds
from .seeding import seeded
from .teacher import new_encoder, take_heads, train_teacher

_log = logging.getLogger(__name__)


def objective_names() -> list[str]:
    """Every objective; a file's name is its own."""
    names = (module.name for module in pkgutil.iter_modules(objectives.__path__))
    return sorted(name for name in names if not name.startswith("_"))


def get_objective(name: str) -> ModuleType:
    """The file of an objective, with its `Recipe`.

    Raises:
        RecipeError: there is none of that name; the nearest is named.
    """
    if name not in objective_names():
        raise RecipeError(f"there is no objective {name!r}: {nearest(name, objective_names())}")
    return importlib.import_module(f"{objectives.__name__}.{name}")


def load_pretraining(name: str, folder: Path, overrides: Iterable[str] = ()) -> PretrainRecipe:
    """Read a recipe of whatever objective it names; arguments and errors as for `load_recipe`."""
    path = find_recipe(name, folder)
    try:
        objective = tomllib.loads(path.read_text(encoding="utf-8")).get("objective")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise RecipeError(f"{path} is not valid TOML: {fault}") from None
    if not isinstance(objective, str):
        raise RecipeError(
            f"{path} does not pretrain: it has no objective, one of {', '.join(objective_names())}"
        )
    recipe: PretrainRecipe = load_recipe(name, get_objective(objective).Recipe, folder, overrides)
    return recipe


def pretrain(
    recipe: PretrainRecipe,
    data: Path,
    out: Path,
    *,
    resume: bool,
    init: Path | None = None,
    units_from: Path | None = None,
) -> Path:
    """Train a teacher on unlabelled speech.

    Args:
        recipe: objective, sizes and rates.
        data: a corpus; its train partition is used, labels are not.
        out: the run folder.
        resume: go on in a folder that was started with the same recipe.
        init: a checkpoint to start from, of an encoder of the recipe's sizes.
        units_from: HuBERT alone: the checkpoint that makes a first round's `layer` units.

    Returns:
        the teacher's checkpoint, `out/model`.

    Raises:
        TrainError: data, checkpoint or folder cannot be used, or training collapsed.
    """
    _check_units(recipe, units_from)
    made_from: dict[str, Any] = {"data": data.resolve().name}
    if units_from is not None:
        made_from["units_from"] = digest(units_from)
    if init is not None:
        made_from["init"] = digest(init)
        new_encoder(recipe, init)  # a checkpoint that does not fit is told before anything starts
    with joined():
        with first_process_first():
            run.check(out, recipe, resume=resume, **made_from)
            source = open_source(data, min_seconds=recipe.batch.min_seconds)
            run.start(out, recipe, resume=resume, **made_from)
        trained = (out / "model").is_dir()
        if not trained:
            train_from(recipe, source, out, init=init, units_from=units_from, provenance=made_from)
        run.finish(out)
        if rank() == 0 and not (trained and (out / "report.html").is_file()):
            write_report(out, out / "report.html")
    return out / "model"


def _check_units(recipe: PretrainRecipe, units_from: Path | None) -> None:
    """A first round of `layer` units needs the model they come from; nothing else has use for it.

    Raises:
        RecipeError: the two do not fit.
    """
    needed = isinstance(recipe, HubertRecipe) and recipe.rounds[0].units == "layer"
    if needed != (units_from is not None):
        raise RecipeError(
            "the recipe's first round makes units of a layer: name the teacher with --units-from"
            if needed
            else "--units-from goes with a HuBERT recipe whose first round has units = 'layer'"
        )


def train_from(
    recipe: PretrainRecipe,
    source: Source,
    out: Path,
    *,
    provenance: Mapping[str, Any],
    init: Path | None = None,
    units_from: Path | None = None,
) -> None:
    """Train a teacher on audio from anywhere, into `out/model`.

    Args:
        recipe: objective, sizes and rates.
        source: unlabelled audio.
        out: the run folder.
        provenance: what the teacher is made from, in JSON values.
        init: as for `pretrain`.
        units_from: as for `pretrain`.
    """
    if isinstance(recipe, HubertRecipe):
        train_rounds(recipe, source, out, init=init, units_from=units_from, provenance=provenance)
        return
    assert isinstance(recipe, OneRoundRecipe)
    encoder = new_encoder(recipe, init)
    with seeded(recipe.seed):
        objective = get_objective(recipe.objective).build(encoder, recipe)
    if init is not None:
        take_heads(objective, recipe.objective, init)
    train_teacher(
        objective,
        recipe,
        source,
        out,
        out / "model",
        updates=recipe.updates,
        provenance=provenance,
    )
