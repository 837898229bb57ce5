"""`compress prune`: whole channels, heads and units out of a model, a smaller dense one left."""

from pathlib import Path
from typing import Annotated

import typer

from ..flags import DryRun, Json, Resume, Seed, Set, count
from ..folders import checkpoint_in, recipe_folder
from ..printing import show

EXAMPLE = (
    "Example: compress prune prune-tiny --model runs/search --data recordings/ --out runs/pruned"
)


def prune(
    recipe: Annotated[str, typer.Argument(help="Recipe's name or .toml file.")],
    model: Annotated[
        Path, typer.Option(help="Run folder or checkpoint of an encoder or keyword model.")
    ],
    out: Annotated[Path | None, typer.Option(help="Run folder to make or to go on in.")] = None,
    target_params: Annotated[
        int | None,
        typer.Option(
            parser=count, metavar="COUNT", help="Most parameters, such as 2M; instead of ratios."
        ),
    ] = None,
    target_macs: Annotated[
        int | None,
        typer.Option(
            parser=count, metavar="COUNT", help="Most MACs for 1 s of audio; instead of ratios."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Corpus that importance 'taylor' listens to.")
    ] = None,
    seed: Seed = None,
    set_: Set = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Prune conv channels, attention heads and FFN units; an ordinary dense checkpoint is left."""
    if out is None and not dry_run:
        raise typer.BadParameter("pruning needs --out; or ask for --dry-run")
    from train.recipe import load_recipe

    from ..prune.recipe import PruneRecipe

    flags = {"seed": seed, "target_params": target_params, "target_macs": target_macs}
    overrides = [f"{name}={value}" for name, value in flags.items() if value is not None]
    asked = load_recipe(recipe, PruneRecipe, recipe_folder("compress"), [*(set_ or []), *overrides])
    from ..prune import run

    if out is None or dry_run:
        show(run.plan(asked, checkpoint_in(model), data).summary(), as_json)
        return
    show(run.prune(asked, checkpoint_in(model), data, out, resume=resume), as_json)
