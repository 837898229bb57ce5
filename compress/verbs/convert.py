"""`compress convert`: a checkpoint of ours for another toolkit."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..flags import DryRun, Json
from ..folders import checkpoint_in
from ..printing import show

EXAMPLE = "Example: compress convert runs/teacher --to huggingface --out hubert-tiny"


class Toolkit(StrEnum):
    """Whose layout to write."""

    HUGGINGFACE = "huggingface"


def convert(
    model: Annotated[Path, typer.Argument(help="Run folder or checkpoint of an encoder.")],
    to: Annotated[Toolkit, typer.Option(help="Toolkit that shall read it.")],
    out: Annotated[
        Path, typer.Option(help="Folder to write; an older one of this command is replaced.")
    ],
    model_type: Annotated[
        str | None,
        typer.Option(
            help="hubert, wav2vec2 or data2vec-audio; without it, by what pretrained the model."
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write an encoder so that transformers' from_pretrained reads it."""
    from train.models.huggingface_export import check_export, export_huggingface

    run = check_export if dry_run else export_huggingface
    written = run(checkpoint_in(model), out, model_type=model_type)
    show({"toolkit": to.value, **written, "folder": str(out)}, as_json)
