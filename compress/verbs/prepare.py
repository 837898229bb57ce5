"""`compress prepare`: a corpus from its publisher, verified and ready for --data."""

from pathlib import Path
from typing import Annotated

import typer

from ..flags import DryRun, Json, Resume
from ..printing import show

EXAMPLE = "Example: compress prepare librispeech --part dev-clean --out data/librispeech"


def prepare(
    corpus: Annotated[
        str,
        typer.Argument(
            help="librispeech, libri_light, speech_commands, speechocean762, l2_arctic or folder."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Corpus folder to make, to go on in or to add a part to.")
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(help="Part to load, such as dev-clean, or all; repeatable."),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="A tree unpacked already: nothing is downloaded or copied."),
    ] = None,
    mirror: Annotated[
        str | None, typer.Option(help="Address of a folder with the same archives.")
    ] = None,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Leave archives in OUT/archives once unpacked.")
    ] = False,
    shards: Annotated[
        bool, typer.Option("--shards", help="Also write tar shards, to OUT/shards/PARTITION.")
    ] = False,
    shard_seconds: Annotated[
        float, typer.Option(min=1.0, help="Audio of a shard, in s; 18 kB each, read as a whole.")
    ] = 3600.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the shards' shuffle.")] = 0,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Download, verify and unpack a corpus; the same command goes on where it was stopped."""
    del resume  # taken as everywhere; whatever is there is always gone on with
    from train.data.prepare import plan
    from train.data.prepare import prepare as run

    if dry_run:
        show(plan(corpus, out, asked=part or [], source=from_, mirror=mirror), as_json)
        return
    result = run(
        corpus,
        out,
        asked=part or [],
        source=from_,
        mirror=mirror,
        seconds_per_shard=shard_seconds if shards else None,
        seed=seed,
        keep_archives=keep_archives,
    )
    show(result, as_json)
