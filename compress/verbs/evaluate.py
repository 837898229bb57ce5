"""`compress evaluate`: how well a bundle spots words, in noise too, or grades a pronunciation."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..flags import Json
from ..printing import show

EXAMPLE = (
    "Example: compress evaluate keywords.bundle data/speech_commands --negatives audiobooks/ "
    "--noise noises/ --out det.png"
)

_SHORT = {
    "miss_ratio": "own",
    "miss_ratio_from": "from",
    "miss_ratio_to": "to",
    "latency_ms_median": "ms_median",
    "latency_ms_p90": "ms_p90",
}
"""Columns of misses on a terminal; `own` is at the bundle's own thresholds."""
_DECIMALS = 3


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or its .zip.")],
    data: Annotated[
        Path,
        typer.Argument(
            help="Corpus of labelled clips, in any layout, or speechocean762 with its experts' "
            "scores; its test partition is used."
        ),
    ],
    negatives: Annotated[
        Path | None,
        typer.Option(
            help="Long audio without keywords: its test partition, or without one, all of it. Its "
            "speakers make the babble."
        ),
    ] = None,
    noise: Annotated[
        Path | None,
        typer.Option(help="Recorded noises; those labelled rir are responses of rooms."),
    ] = None,
    rooms: Annotated[
        bool, typer.Option("--rooms", help="Put every word into a room, in each condition.")
    ] = False,
    snr_db: Annotated[
        list[float] | None,
        typer.Option(
            metavar="DB", help="Of words over noise and babble; repeatable.  [default: 10, 5, 0]"
        ),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(
            metavar="PER_HOUR",
            help="False alarms per hour at which misses are told; repeatable.  "
            "[default: 0.1, 0.5, 1]",
        ),
    ] = None,
    tolerance_ms: Annotated[
        int, typer.Option(min=0, max=60_000, help="Latest event after a word's end, in ms.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of orders, pauses, noises and rooms.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="PNG of misses over false alarms to write; an older one is replaced."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure misses and false alarms of a bundle on labelled clips, event by event.

    Words are heard in quiet, noise and babble; false alarms are counted in quiet, where no keyword
    is said. "—" stands where too few hours were heard for a rate, or no threshold keeps it.

    A bundle of phones that compress grade taught is held to experts' scores instead: Pearson's
    correlation, mean square error, and F1 of wrong phones, with 95 % intervals over speakers.
    """
    if _grades(bundle, data):
        from ..pronunciation.grading import agree

        levels = agree(bundle, data)
        show(levels.to_dict() if as_json else {"levels": levels.rows()}, as_json)
        return
    from ..detection.evaluation import evaluate as run
    from ..detection.results import Plan

    given: dict[str, Any] = {"rates_per_hour": rate, "snrs_db": snr_db}
    plan = Plan(
        in_rooms=rooms,
        tolerance_s=tolerance_ms / 1000.0,
        seed=seed,
        **{key: tuple(dict.fromkeys(values)) for key, values in given.items() if values},
    )
    found = run(bundle, data, negatives=negatives, noise=noise, plan=plan)
    if out is not None:
        from ..detection.det_plot import write_plot

        write_plot(found, out)
    drawn = {} if out is None else {"plot": str(out)}
    if as_json:
        show(found.to_dict() | drawn, as_json)
        return
    tables = {"false_alarms": found.alarm_rows(), "miss_ratios": found.miss_rows()}
    show({**found.about, **{key: _readable(rows) for key, rows in tables.items()}, **drawn}, False)


def _grades(bundle: Path, data: Path) -> bool:
    """Whether it is pronunciation that is to be held to experts' scores."""
    from runtime.bundle import read_bundle
    from runtime.manifest_rules import PHONES
    from train.data.scores import has_scores

    return read_bundle(bundle).manifest.task == PHONES and has_scores(data)


def _readable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For a terminal: shorter, and a dash where nothing can be told."""
    return [{_head(key): _cell(value) for key, value in row.items()} for row in rows]


def _head(key: str) -> str:
    if key.startswith("miss_ratio_at_"):
        return key.removeprefix("miss_ratio_at_").replace("_per_hour", "/h")
    return _SHORT.get(key, key)


def _cell(value: object) -> object:
    if value is None:
        return "—"
    return round(value, _DECIMALS) if isinstance(value, float) else value
