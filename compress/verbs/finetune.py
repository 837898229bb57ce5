"""`compress finetune`: a keyword or phone model from labelled speech."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..flags import Data, DryRun, Json, Out, Resume, Seed, Set, overrides
from ..folders import recipe_folder
from ..printing import show
from ..shipped import model_in

EXAMPLE = (
    "Example: compress finetune keywords-tiny --model runs/search --data clips/ "
    "--out runs/keywords. Phones: compress finetune phones-tcn --data speechocean762/ "
    "--out runs/phones"
)


def finetune(
    recipe: Annotated[str, typer.Argument(help="Recipe's name or .toml file.")],
    data: Data,
    out: Out,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Run folder or checkpoint to start from: an encoder, or a model of keywords or "
            "phones; otolite-phones ships."
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Run folder or checkpoint of a model of phones, of any size, that tells phones "
            "nobody told, for recipes with [unlabelled] and labels = 'offline'; else --model does."
        ),
    ] = None,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="Take only the sizes of --model.")
    ] = False,
    noise: Annotated[
        Path | None,
        typer.Option(
            help="Folder of noises and rooms that clips are mixed with; its manifest.csv labels "
            "them noise and rir."
        ),
    ] = None,
    negatives: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of speech without the keywords, for training on running sound; may be "
            "given again."
        ),
    ] = None,
    seed: Seed = None,
    set_: Set = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train a keyword or phone model on labelled speech, from an encoder or from scratch."""
    if random_init and model is None:
        raise typer.BadParameter("--random-init takes the sizes of --model, which is missing")
    from train.phones_recipe import PhonesRecipe
    from train.recipe import load_kind
    from train.task_recipes import TASKS

    asked = load_kind(recipe, "task", TASKS, recipe_folder("train"), overrides(set_, seed))
    source = None if model is None else model_in(model)
    telling = None if teacher is None else model_in(teacher)
    if isinstance(asked, PhonesRecipe):
        if negatives:
            raise typer.BadParameter("--negatives are for keywords in running sound")
        if dry_run:
            from ..planning import phone_training

            plan = phone_training(asked, source, data, teacher=telling, random_init=random_init)
            show(plan, as_json)
            return
        from train.phone_training import train_phones

        measure = "phone_error_rate"
        trained = train_phones(
            asked,
            data,
            out,
            model=source,
            teacher=telling,
            random_init=random_init,
            resume=resume,
            surroundings=noise,
        )
    else:
        if teacher is not None:
            raise typer.BadParameter("--teacher tells phones, for recipes of phones")
        if dry_run:
            from ..planning import finetuning

            show(finetuning(asked, source, data), as_json)
            return
        from train.finetune import finetune as train_keywords

        measure = "accuracy"
        trained = train_keywords(
            asked,
            data,
            source,
            out,
            random_init=random_init,
            resume=resume,
            surroundings=noise,
            negatives=negatives or [],
        )
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    told = {
        f"{part}_{measure}": scores[part][measure] for part in ("valid", "test") if part in scores
    }
    show({"model": str(trained), **told}, as_json)
