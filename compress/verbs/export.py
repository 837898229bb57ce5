"""`compress export`: a keyword model as a bundle, in float32 or in 8 bits."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import CallError
from ..flags import DryRun, Json, posterior
from ..printing import show

if TYPE_CHECKING:
    from ..exporting import Int8Flags

EXAMPLE = (
    "Example: compress export runs/keywords --out keywords.bundle --precision int8-static "
    "--calibration clips/"
)


class Format(StrEnum):
    """`export.targets`' files, which --help lists without importing them."""

    ONNX = "onnx"
    TFLITE = "tflite"


class Precision(StrEnum):
    """`export.quantize.Precision`'s values, which --help lists without importing it."""

    FLOAT32 = "float32"
    INT8_DYNAMIC = "int8-dynamic"
    INT8_STATIC = "int8-static"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of compress finetune.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write; an older bundle is replaced.")],
    name: Annotated[str, typer.Option(help="What the bundle is called.")] = "keywords",
    threshold: Annotated[
        float,
        typer.Option(callback=posterior, help="Least smoothed posterior of an event, in (0, 1]."),
    ] = 0.7,
    hop_ms: Annotated[int, typer.Option(min=1, help="Time between two windows, in ms.")] = 100,
    smoothing: Annotated[int, typer.Option(min=1, help="Windows averaged before deciding.")] = 3,
    patience: Annotated[int, typer.Option(min=1, help="Windows in a row that must agree.")] = 1,
    refractory_ms: Annotated[
        int, typer.Option(min=0, help="No event for this long after one, in ms.")
    ] = 500,
    licence: Annotated[str, typer.Option(help="Licence of the training data.")] = "not stated",
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            help="Graph to write; repeatable, and a device runs the first that it has an engine "
            "for. tflite needs the extra 'tflite'.  [default: onnx]",
        ),
    ] = None,
    length: Annotated[
        list[float] | None,
        typer.Option(
            metavar="SECONDS",
            help="tflite: further length that the graph takes at once, beside its window; "
            "repeatable, and weights are stored once.",
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="How weights are stored. int8-dynamic: those of matrix products; int8-static: of "
            "convolutions too, with ranges learned from audio. The front end stays in float."
        ),
    ] = Precision.FLOAT32,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="int8: corpus whose train partition gives the ranges and whose valid partition "
            "the comparison with float; the run's own --data, or one like it."
        ),
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER",
            help="int8: layer left in float, such as classifier or 'body.encoder.layers.0.*'; "
            "repeatable.",
        ),
    ] = None,
    min_snr_db: Annotated[
        float | None,
        typer.Option(help="int8: least signal-to-noise ratio of the logits, in dB.  [default: 20]"),
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(help="int8: most accuracy lost, a ratio in [0, 1].  [default: 0.005]"),
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="int8: tell what each layer alone costs, in dB.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="int8: of the choice of clips.  [default: 0]")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write a keyword model as a self-contained bundle, checked against torch."""
    given = {
        "calibration": calibration,
        "keep_float": None if keep_float is None else tuple(keep_float),
        "min_snr_db": min_snr_db,
        "max_accuracy_drop": max_accuracy_drop,
        "sensitivity": sensitivity or None,
        "seed": seed,
    }
    int8 = _int8(precision, {key: value for key, value in given.items() if value is not None})
    from ..exporting import DecisionFlags, GraphFlags, export_run

    graphs = GraphFlags(
        formats=tuple(dict.fromkeys(name.value for name in formats or (Format.ONNX,))),
        lengths_s=tuple(length or ()),
    )
    if dry_run:
        from ..planning import exporting

        show(exporting(run, out, int8, graphs), as_json)
        return

    flags = DecisionFlags(
        threshold=threshold,
        hop_ms=hop_ms,
        smoothing_windows=smoothing,
        patience=patience,
        refractory_ms=refractory_ms,
    )
    manifest = export_run(
        run, out, name=name, flags=flags, licence=licence, int8=int8, graphs=graphs
    )
    show({"bundle": str(out), **manifest.measured}, as_json)


def _int8(precision: Precision, given: dict[str, object]) -> "Int8Flags | None":
    """The flags of 8 bits that were given, checked against one another; None for float32.

    Raises:
        CallError: one without the other.
    """
    if precision is Precision.FLOAT32:
        if given:
            flags = ", ".join(f"--{key.replace('_', '-')}" for key in given)
            raise CallError(
                f"{flags} speak of 8 bits and --precision is float32; choose an int8 precision or "
                "leave them out"
            )
        return None
    if "calibration" not in given:
        raise CallError(
            f"--precision {precision} needs --calibration, a corpus to learn ranges from and to "
            "compare on: a run keeps its corpus' name and not its place. Give the --data of "
            "compress finetune, or a corpus like it"
        )
    from export.quantize import Precision as Stored

    from ..exporting import Int8Flags

    return Int8Flags(precision=Stored(precision.value), **given)  # type: ignore[arg-type]
