"""Flags that several verbs share, and how their values are read."""

from pathlib import Path
from typing import Annotated

import typer

from .counts import parse_count, parse_milliseconds

Out = Annotated[Path, typer.Option(help="Run folder to make or to go on in.")]
Data = Annotated[
    Path,
    typer.Option(help="Corpus: a folder of audio, a manifest.csv set, or Speech Commands' layout."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Overrides the recipe's seed, 0 or more.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Overrides a value of the recipe, such as optimizer.learning_rate=1e-3; repeatable.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and plan; change nothing.")]
Tflops = Annotated[
    float | None,
    typer.Option(min=0.001, help="With --dry-run: what a GPU sustains, in TFLOP/s."),
]
Keywords = Annotated[
    list[str] | None,
    typer.Option(
        "--keyword",
        metavar="TEXT",
        help="With a bundle of phones: words of English to listen for, in place of the bundle's; "
        "or text and phones, 'snowboy=S N OW B OY'. Repeatable.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON on standard output.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Each event as a line of JSON.")]


def count(text: str) -> int:
    """'30M' as a number; anything else is a wrong call."""
    try:
        return parse_count(text)
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None


def milliseconds(text: str) -> float:
    """'8ms', '0.5s' or '8' in ms; anything else is a wrong call."""
    try:
        return parse_milliseconds(text)
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None


def posterior(value: float | None) -> float | None:
    """A posterior to reach; outside (0, 1] is a wrong call."""
    if value is not None and not 0.0 < value <= 1.0:
        raise typer.BadParameter(f"must lie in (0, 1], got {value:g}")
    return value


def overrides(set_: list[str] | None, seed: int | None) -> list[str]:
    """What --set and --seed change of a recipe."""
    return [*(set_ or []), *([] if seed is None else [f"seed={seed}"])]
