"""`compress export`: a keyword or phone model, or one of transformers, as a bundle."""

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
    "Example: compress export runs/keywords --out keywords.bundle --format onnx --format tflite "
    "--precision int8-static --calibration clips/"
)


class Form(StrEnum):
    """A manifest's `streaming.form`, as flags are written."""

    SLIDING_WINDOW = "sliding-window"
    INCREMENTAL = "incremental"


class Format(StrEnum):
    """`export.targets`' files, which --help lists without importing them."""

    ONNX = "onnx"
    TFLITE = "tflite"


class Precision(StrEnum):
    """`export.quantize.Precision`'s values, which --help lists without importing it."""

    FLOAT32 = "float32"
    INT8_DYNAMIC = "int8-dynamic"
    INT8_STATIC = "int8-static"


class Quantizer(StrEnum):
    """`export.quantizers`' files, which --help lists without importing them."""

    ONNXRUNTIME = "onnxruntime"
    OPTIMUM = "optimum"


def export(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder of compress finetune; otolite-phones, a phone model that ships; or an "
            "audio classifier's folder of Hugging Face transformers (which needs the extra "
            "'optimum')."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Bundle folder to write; an older bundle is replaced.")],
    name: Annotated[
        str | None,
        typer.Option(help="What the bundle is called.  [default: keywords, or phones if it is]"),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(callback=posterior, help="Least smoothed posterior of an event, in (0, 1]."),
    ] = 0.7,
    form: Annotated[
        Form | None,
        typer.Option(
            help="How it streams. sliding-window: any model, run anew on every window; "
            "incremental: a causal one, step by step, handing its states on.  "
            "[default: the recipe's streaming]"
        ),
    ] = None,
    hop_ms: Annotated[
        int | None,
        typer.Option(
            min=1, help="sliding-window: time between two windows, in ms.  [default: 100]"
        ),
    ] = None,
    chunk_ms: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="incremental: audio of a step, in ms; a multiple of the model's frames.  "
            "[default: the recipe's chunk_ms]",
        ),
    ] = None,
    smoothing: Annotated[int, typer.Option(min=1, help="Answers averaged before deciding.")] = 3,
    patience: Annotated[int, typer.Option(min=1, help="Answers in a row that must agree.")] = 1,
    refractory_ms: Annotated[
        int, typer.Option(min=0, help="No event for this long after one, in ms.")
    ] = 500,
    window_ms: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="transformers: what the model looks at once, in ms; a run has its own.  "
            "[default: 1000]",
        ),
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the training data.")] = "not stated",
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            metavar="onnx|tflite",
            help="Graph to write; repeatable, and a device runs the first that it has an engine "
            "for. tflite needs the extra 'tflite'.  [default: onnx]",
        ),
    ] = None,
    length: Annotated[
        list[float] | None,
        typer.Option(
            metavar="SECONDS",
            help="tflite, sliding-window: further length that the graph takes at once, such as "
            "1.5, beside its window; repeatable, and weights are stored once.",
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
            help="int8, and needed there: corpus whose train partition gives the ranges and "
            "whose valid partition the comparison with float; the run's own --data, or one like "
            "it."
        ),
    ] = None,
    quantizer: Annotated[
        Quantizer | None,
        typer.Option(
            help="int8: library that rewrites the onnx graph; optimum needs the extra of its "
            "name.  [default: onnxruntime]"
        ),
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER",
            help="int8: layer left in float, such as classifier or 'body.encoder.layers.0.*'; "
            "repeatable. auto: as few of the worst as the two limits below ask for.",
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
    ort: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the graph as model.ort too, with the list of its operators for a minimal "
            "mobile build of ONNX Runtime: a folder of its own beside the bundle. Needs --format "
            "onnx.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write a keyword or phone model as a self-contained bundle, checked against torch.

    A phone model streams step by step and tells every frame, so flags that decide on events are
    not for it.

    A folder of transformers with labels of its own goes through optimum, as sliding windows to
    onnx; one without goes by compress import and compress finetune.
    """
    given = {
        "calibration": calibration,
        "quantizer": None if quantizer is None else quantizer.value,
        "keep_float": None if keep_float is None else tuple(keep_float),
        "min_snr_db": min_snr_db,
        "max_accuracy_drop": max_accuracy_drop,
        "sensitivity": sensitivity or None,
        "seed": seed,
    }
    int8 = _int8(precision, {key: value for key, value in given.items() if value is not None})
    written = tuple(dict.fromkeys(name.value for name in formats or (Format.ONNX,)))
    if ort is not None:
        if Format.ONNX not in written:
            raise CallError(
                f"--ort is made of an ONNX graph, and --format {' '.join(written)} writes none; "
                "add --format onnx or leave --ort out"
            )
        from export.ort import check_place, write_ort

        check_place(ort, out)
    from ..exporting import DecisionFlags, GraphFlags, export_run
    from ..folders import is_transformers
    from ..forms import FormFlags

    foreign = is_transformers(run)
    if window_ms is not None and not foreign:
        raise CallError(
            f"--window-ms is for a checkpoint of transformers, and {run} is none: a run's window "
            "is what it was trained on; leave it out"
        )
    streaming = FormFlags(
        form=None if form is None else form.name.lower(), hop_ms=hop_ms, chunk_ms=chunk_ms
    )
    graphs = GraphFlags(formats=written, lengths_s=tuple(length or ()))
    flags = DecisionFlags(
        threshold=threshold,
        smoothing_windows=smoothing,
        patience=patience,
        refractory_ms=refractory_ms,
    )
    if dry_run:
        from ..planning import exporting, exporting_huggingface

        if foreign:
            planned = exporting_huggingface(run, out, window_ms, streaming, int8, graphs)
        else:
            planned = exporting(run, out, flags, streaming, int8, graphs)
        show(planned | ({} if ort is None else {"ort": str(ort)}), as_json)
        return

    if foreign:
        from ..huggingface import export_checkpoint

        manifest = export_checkpoint(
            run,
            out,
            name=name or "keywords",
            window_ms=window_ms,
            flags=flags,
            form=streaming,
            graphs=graphs,
            licence=licence,
            int8=int8,
        )
    else:
        manifest = export_run(
            run,
            out,
            name=name,
            flags=flags,
            form=streaming,
            licence=licence,
            int8=int8,
            graphs=graphs,
        )
    minimal = {} if ort is None else {"ort": write_ort(out, ort)}
    show({"bundle": str(out), **minimal, **manifest.measured}, as_json)


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
