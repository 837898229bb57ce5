"""`compress report`: a run as one page of HTML, whether it is done or not."""

from pathlib import Path
from typing import Annotated

import typer

from ..flags import Json
from ..printing import show

EXAMPLE = "Example: compress report runs/teacher --out report.html"


def report(
    run: Annotated[Path, typer.Argument(help="Run folder of pretrain, distill or finetune.")],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file to write; without it, RUN/report.html. Replaced if there."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw what a run has logged so far, with its recipe and its pace, into one HTML file."""
    from train.report import write_report

    page = out if out is not None else run / "report.html"
    found = write_report(run, page)
    show({"report": str(page), "updates": found.updates, "skipped_lines": found.skipped}, as_json)
