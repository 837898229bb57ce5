"""From a trained or enrolled run to a bundle that knows its threshold, and how good it is."""

import json
from pathlib import Path
from typing import Any

from export.quantize import Precision
from runtime.atomic import replacing_file

from ..detection.calibrating import calibrate
from ..exporting import DecisionFlags, Int8Flags, export_run
from ..forms import FormFlags
from ..telling import step
from .asking import Ask
from .figures import Heard, measure
from .shares import Divided

SMOOTHING_WINDOWS = 2
"""Answers averaged; a keyword is told for four, of 80 ms each."""
REFRACTORY_MS = 1_000
_REPORT = "report.json"


def finish(
    ask: Ask,
    text: str,
    run: Path,
    out: Path,
    *,
    places: tuple[str, str],
    calibration: Path,
    audio: Divided,
    speech: Path | None,
) -> dict[str, Any]:
    """Export, calibrate and measure.

    Args:
        ask: what was wanted.
        text: the keyword.
        run: a finished run folder.
        out: gets the bundle and report.json.
        places: of these two steps among all, such as 4/5 and 5/5.
        calibration: corpus to compare the bundle in 8 bits with float on.
        audio: speech without the keyword; some for the threshold, some for the test.
        speech: the synthetic corpus, whose test partition is heard; None: there is none.

    Returns:
        the report: where the bundle is, and tables.

    Raises:
        CompressError, TrainError, ExportError, RuntimeFault: a step cannot be done.
    """
    bundle = out / f"{text.replace(' ', '-')}.bundle"
    with step(places[0], "a bundle in 8 bits"):
        if not bundle.is_dir():
            export_run(
                run,
                bundle,
                name=text,
                flags=DecisionFlags(
                    smoothing_windows=SMOOTHING_WINDOWS, refractory_ms=REFRACTORY_MS
                ),
                form=FormFlags(),
                licence=_licence(ask),
                int8=Int8Flags(
                    precision=Precision.INT8_DYNAMIC,
                    calibration=calibration,
                    keep_float=("auto",),
                    seed=ask.seed,
                ),
            )
    with step(places[1], "its threshold, and how good it is"):
        chosen = calibrate(bundle, audio.valid, ask.target)
        heard = Heard(
            speech=speech, negatives=audio.test, noise=ask.noise, recorded=bool(ask.negatives)
        )
        figures = measure(bundle, heard, ask.target)
    size_bytes = sum(file.stat().st_size for file in bundle.glob("model.*"))
    report = {
        "bundle": str(bundle),
        "size_kb": round(size_bytes / 1000.0, 1),
        "threshold_from": {
            "hours": chosen["hours"],
            "false_alarms": chosen["false_alarms"],
            "per_hour_at_most": chosen["per_hour_at_most"],
        },
        **figures,
        "notes": ask.notes,
    }
    with replacing_file(out / _REPORT) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _licence(ask: Ask) -> str:
    parts = [] if ask.enroll else ["synthetic speech"]
    if ask.model is not None:
        parts.append("that of the model it was made from")
    if ask.negatives or ask.noise or ask.recordings:
        parts.append("that of the recordings given")
    return ", and ".join(parts)
