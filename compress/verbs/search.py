"""`compress search`: the best subnet within a budget, cut out and measured."""

from pathlib import Path
from typing import Annotated

import typer

from ..flags import DryRun, Json, Resume, count, milliseconds
from ..printing import show
from ..search_file import SEARCH

EXAMPLE = "Example: compress search runs/supernet --target-params 500k --data recordings/"


def search(
    supernet: Annotated[
        str | None,
        typer.Argument(
            help="Run folder of compress distill, a supernet's checkpoint, or a name: "
            "otolite-tiny, which ships with the package and is taken where none is given, or a "
            "published one such as lighthubert-small (downloaded once, 381 MB)."
        ),
    ] = None,
    supernet_too: Annotated[
        str | None,
        typer.Option("--supernet", metavar="SUPERNET", help="Another way to give SUPERNET."),
    ] = None,
    target_params: Annotated[
        int | None,
        typer.Option(parser=count, metavar="COUNT", help="Most parameters, such as 30M."),
    ] = None,
    target_macs: Annotated[
        int | None,
        typer.Option(
            parser=count, metavar="COUNT", help="Most MACs for a second of audio, such as 1.2G."
        ),
    ] = None,
    size_mb: Annotated[
        float | None, typer.Option(min=0.001, help="Most MB of the exported float32 graph.")
    ] = None,
    latency_ms: Annotated[
        float | None,
        typer.Option(
            parser=milliseconds,
            metavar="MS",
            help="Most compute for the device table's window, such as 8ms; goes with --device.",
        ),
    ] = None,
    device: Annotated[
        Path | None,
        typer.Option(help="Table of block latencies, from python -m runtime bench --blocks."),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="With --dry-run: the space to look into; no supernet needed.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Corpus; its valid partition scores. Without it, a little speech by espeak-ng."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder to make or to go on in; without it, runs/search-30M or what the "
            "budget is."
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="What the supernet was distilled from; its run knows it otherwise."),
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="Of encoders distillation (held-out loss), which is taken without it, or probe "
            "(labels, frozen); of keyword models labels (loss on the valid partition)."
        ),
    ] = None,
    front: Annotated[
        bool,
        typer.Option("--front", help="Look for the front of trade-offs, not one winner alone."),
    ] = False,
    num_trials: Annotated[int, typer.Option(min=1, help="Subnets to score.")] = 64,
    population: Annotated[int, typer.Option(min=2, help="Subnets of a generation.")] = 16,
    num_clips: Annotated[
        int, typer.Option(min=1, help="Held-out clips a subnet is scored on.")
    ] = 128,
    polish_updates: Annotated[
        int, typer.Option(min=0, help="Updates of training the winner alone; 0: as it was cut.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of sampler, clips and masks.")] = 0,
    workers: Annotated[
        int, typer.Option(min=1, max=1024, help="Processes on this machine that share the work.")
    ] = 1,
    join: Annotated[
        bool, typer.Option("--join", help="Help a search that runs elsewhere with these arguments.")
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where workers share scores: a database's URL, or a .log file on a shared disk; "
            "without it, OUT/study.db."
        ),
    ] = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Find the best subnet within a budget, cut it out as a dense model, and measure it.

    Give one limit or several: --target-params, --target-macs, --size-mb, --latency-ms.
    """
    if supernet is not None and supernet_too is not None:
        raise typer.BadParameter(
            f"SUPERNET {supernet} and --supernet {supernet_too} are two; give one"
        )
    supernet = supernet or supernet_too
    if space is not None and (supernet is not None or not dry_run):
        raise typer.BadParameter("--space goes with --dry-run alone: a supernet knows its space")
    from ..budget import check_limits

    limits = {
        "params": target_params,
        "macs": target_macs,
        "size_bytes": _in(1e6, size_mb),
        "latency_ns": _in(1e6, latency_ms),
    }
    given = {name: limit for name, limit in limits.items() if limit is not None}
    check_limits(given, has_device=device is not None)
    if dry_run:
        from ..planning import reachable

        show(reachable(space, supernet, device, **limits), as_json)
        return
    from ..search.config import SearchConfig
    from ..search.defaults import settle, tell_next
    from ..search.winner import join as help_out
    from ..search.winner import search as run

    config = SearchConfig(
        target_params=limits["params"],
        target_macs=limits["macs"],
        size_bytes=limits["size_bytes"],
        latency_ns=limits["latency_ns"],
        scorer=scorer,
        front=front,
        num_trials=num_trials,
        population=population,
        num_clips=num_clips,
        polish_updates=polish_updates,
        seed=seed,
    )
    places = settle(
        config,
        supernet=supernet,
        data=data,
        out=out,
        teacher=teacher,
        device=device,
        storage=storage,
    )
    if join:
        show({"scored_here": help_out(config, places)}, as_json)
        return
    found = run(config, places, resume=resume, workers=workers)
    best = found.record["winner"]
    show(
        {
            "winner": best["subnet"],
            "score": best["score"],
            "predicted": best["predicted"],
            "measured": best["measured"],
            "fine_tuned": best["fine_tuned"] or "no",
            "model": str(found.model),
            "record": str(places.out / SEARCH),
        },
        as_json,
    )
    tell_next(found, places, supernet)


def _in(units: float, value: float | None) -> int | None:
    return None if value is None else round(value * units)
