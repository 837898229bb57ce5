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
from .models.families import Encoder, family_of
from .nearest import nearest
from .objectives import Objective
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
    teacher: Path | None = None,
) -> Path:
    """Train a teacher on unlabelled speech.

    Args:
        recipe: objective, sizes and rates.
        data: a corpus; its train partition is used, labels are not.
        out: the run folder.
        resume: go on in a folder that was started with the same recipe.
        init: a checkpoint to start from, of an encoder of the recipe's sizes.
        units_from: HuBERT alone: the checkpoint that makes a first round's `layer` units.
        teacher: the checkpoint of a frozen teacher; goes with recipes that need one.

    Returns:
        the teacher's checkpoint, `out/model`.

    Raises:
        TrainError: data, checkpoint or folder cannot be used, or training collapsed.
    """
    _check_units(recipe, units_from)
    check_teacher(recipe, teacher)
    made_from: dict[str, Any] = {"data": data.resolve().name}
    if units_from is not None:
        made_from["units_from"] = digest(units_from)
    if teacher is not None:
        made_from["teacher"] = digest(teacher)
        build_objective(recipe, new_encoder(recipe, None), teacher)  # or is told that it cannot be
    if init is not None:
        made_from["init"] = digest(init)
        new_encoder(recipe, init)  # a checkpoint that does not fit is told before anything starts
    with joined():
        with first_process_first():
            run.check(out, recipe, resume=resume, **made_from)
            source = open_source(
                data, min_seconds=recipe.batch.min_seconds, without=recipe.without_labelled
            )
            run.start(out, recipe, resume=resume, **made_from)
        trained = (out / "model").is_dir()
        if not trained:
            train_from(
                recipe,
                source,
                out,
                provenance=made_from,
                init=init,
                units_from=units_from,
                teacher=teacher,
            )
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


def check_teacher(recipe: PretrainRecipe, teacher: Path | None) -> None:
    """A frozen teacher goes with the recipes that need one, and with no other.

    Raises:
        RecipeError: it is missing, or nothing has use for it.
    """
    if recipe.needs_teacher and teacher is None:
        raise RecipeError(
            "the recipe learns from a frozen teacher: name a run of its family with --teacher, "
            "such as one of mae-tiny, or do without by --set feature_weight=0"
        )
    if teacher is not None and not recipe.needs_teacher:
        raise RecipeError(
            f"--teacher goes with recipes that learn from a frozen one, such as dmae-tiny; this "
            f"recipe of {recipe.objective} does not"
        )


def build_objective(
    recipe: PretrainRecipe, encoder: Encoder, teacher: Path | None = None
) -> Objective:
    """The recipe's objective around an encoder, its heads random from the recipe's seed.

    Args:
        recipe: of one round.
        encoder: what learns, of the recipe's sizes.
        teacher: checkpoint of a frozen teacher of the encoder's family; as `check_teacher` has it.

    Raises:
        TrainError: the teacher is no checkpoint of that family, or does not fit.
    """
    build = get_objective(recipe.objective).build
    with seeded(recipe.seed):
        if teacher is None:
            objective: Objective = build(encoder, recipe)
        else:
            objective = build(encoder, recipe, family_of(recipe.encoder).load(teacher))
    return objective


def train_from(
    recipe: PretrainRecipe,
    source: Source,
    out: Path,
    *,
    provenance: Mapping[str, Any],
    init: Path | None = None,
    units_from: Path | None = None,
    teacher: Path | None = None,
) -> None:
    """Train a teacher on audio from anywhere, into `out/model`.

    Args:
        recipe: objective, sizes and rates.
        source: unlabelled audio.
        out: the run folder.
        provenance: what the teacher is made from, in JSON values.
        init: as for `pretrain`.
        units_from: as for `pretrain`.
        teacher: as for `pretrain`.
    """
    if isinstance(recipe, HubertRecipe):
        train_rounds(recipe, source, out, init=init, units_from=units_from, provenance=provenance)
        return
    assert isinstance(recipe, OneRoundRecipe)
    check_teacher(recipe, teacher)
    objective = build_objective(recipe, new_encoder(recipe, init), teacher)
    if init is not None:
        take_heads(objective, recipe, init)
    train_teacher(
        objective,
        recipe,
        source,
        out,
        out / "model",
        updates=recipe.updates,
        provenance=provenance,
    )
