"""`compress grade`: teach a bundle of phones to grade pronunciation as experts do."""

from pathlib import Path
from typing import Annotated

import typer

from ..flags import DryRun, Json
from ..printing import show

EXAMPLE = "Example: compress grade phones.bundle data/speechocean762"


def grade(
    bundle: Annotated[Path, typer.Argument(help="Bundle of phones, a folder; older grades go.")],
    data: Annotated[
        Path,
        typer.Argument(
            help="speechocean762, with its experts' scores; the train partition is learned from."
        ),
    ],
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Learn from experts' scores to grade phones, words and sentences, and write that in.

    Afterwards compress check tells grades from 0 to 2 and goes by them; compress evaluate holds
    them to the experts' on the test partition. Exporting anew makes a bundle without.
    """
    from ..pronunciation.grading import teach

    show(teach(bundle, data, seed=seed, dry_run=dry_run), as_json)
