"""`compress calibrate`: thresholds that keep a rate of false alarms, measured on long audio."""

from pathlib import Path
from typing import Annotated

import typer

from ..flags import DryRun, Json, Keywords
from ..printing import show

EXAMPLE = (
    "Example: compress calibrate keywords.bundle --false-alarms-per-hour 0.5 --negatives "
    'audiobooks/. Typed keywords: compress calibrate phones.bundle --keyword "turn on the lights" '
    "--false-alarms-per-hour 1 --negatives audiobooks/"
)


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder; its thresholds are replaced.")],
    false_alarms_per_hour: Annotated[
        float,
        typer.Option(metavar="RATE", help="Of all keywords together; each gets an equal share."),
    ],
    negatives: Annotated[
        Path,
        typer.Option(
            help="Long audio without keywords, not trained on: a folder. A test partition in it is "
            "left for compress evaluate."
        ),
    ],
    keyword: Keywords = None,
    positives: Annotated[
        Path | None,
        typer.Option(help="Labelled clips: the valid partition tells misses at the thresholds."),
    ] = None,
    least_threshold: Annotated[
        float, typer.Option(help="Lowest threshold to give, in (0, 1].")
    ] = 0.3,
    allow_short: Annotated[
        bool,
        typer.Option(
            "--allow-short",
            help="Take negatives in which not even one alarm is to be expected; none of them is "
            "let through then.",
        ),
    ] = False,
    tolerance_ms: Annotated[
        int, typer.Option(min=0, max=60_000, help="Latest event after a word's end, in ms.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the order and pauses of positives.")] = 0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Choose each keyword's threshold by its false alarms on long audio, and write them in.

    With --keyword a bundle of phones gets the words too, and listens for them from then on. The
    upper bound is Poisson's at 95 %: no alarm in T hours means fewer than 3 / T per hour.
    """
    from ..detection.calibrating import Target
    from ..detection.calibrating import calibrate as run

    target = Target(
        false_alarms_per_hour=false_alarms_per_hour,
        least_threshold=least_threshold,
        allow_short=allow_short,
        tolerance_s=tolerance_ms / 1000.0,
        seed=seed,
    )
    phrases = None
    if keyword is not None:
        from ..typed_keywords import pronunciations

        phrases = pronunciations(keyword)
    found = run(bundle, negatives, target, positives=positives, phrases=phrases, dry_run=dry_run)
    show(found, as_json)
