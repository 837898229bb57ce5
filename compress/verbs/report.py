"""`compress report`: a run as one page of HTML, whether it is done or not."""

from pathlib import Path
from typing import Annotated

import typer

from ..flags import Json
from ..printing import show

EXAMPLE = "Example: compress report runs/teacher --out report.html"


def report(
    run: Annotated[
        Path, typer.Argument(help="Run folder of pretrain, distill, search or finetune.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file to write; without it, RUN/report.html. Replaced if there."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw what a run has logged or a search has found so far into one HTML file."""
    from ..search_file import SEARCH

    page = out if out is not None else run / "report.html"
    if (run / SEARCH).is_file():
        from ..report import write_search_report
        from ..search_file import read_search

        search = write_search_report(read_search(run), page)
        show(
            {
                "report": str(page),
                "candidates": search.candidates,
                "scored": search.scored,
                "skipped_candidates": search.skipped,
            },
            as_json,
        )
        return
    from train.report import write_report

    found = write_report(run, page)
    show({"report": str(page), "updates": found.updates, "skipped_lines": found.skipped}, as_json)
