"""From an audio classifier of Hugging Face transformers to a bundle, through optimum."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from export.bundle import export_keywords
from export.huggingface import FORMAT, Checkpoint, load_classifier, read_checkpoint
from runtime.bundle import file_digest
from runtime.manifest import Manifest, Streaming

from . import CompressError
from .calibration import Audio, choose
from .exporting import DecisionFlags, GraphFlags, Int8Flags, check_place
from .forms import INCREMENTAL, SAMPLES_PER_MS, FormFlags, windows

DEFAULT_WINDOW_MS = 1_000
"""Of keywords; a checkpoint does not say what it was trained on."""
_MIN_SECONDS = 0.1
"""Shorter clips are mostly the silence around them once they fill a window."""
_TOOLS = ("optimum-onnx", "transformers", "torch")


def export_checkpoint(
    folder: Path,
    out: Path,
    *,
    name: str,
    window_ms: int | None,
    flags: DecisionFlags,
    form: FormFlags,
    graphs: GraphFlags,
    licence: str,
    int8: Int8Flags | None = None,
) -> Manifest:
    """Export a folder of transformers' `save_pretrained`: windows, to ONNX.

    Args:
        folder: with config.json, preprocessor_config.json and safetensors.
        out: the bundle to write.
        name: what it is called.
        window_ms: what the model looks at once; None: `DEFAULT_WINDOW_MS`.
        flags: when posteriors become an event.
        form: in which it streams, as far as there is a choice.
        graphs: in which formats, as far as there is a choice.
        licence: of the training data.
        int8: how to store weights in 8 bits; None: float32.

    Raises:
        CompressError: `out` is something else than a bundle, or as `checked`.
        DataError: the calibration corpus cannot be used.
        ExportError, BundleFault: as `read_checkpoint`, `load_classifier` and `export_keywords`.
    """
    checkpoint, streaming = checked(folder, window_ms, form, graphs)
    check_place(out)
    classifier = load_classifier(checkpoint)
    quantization = None
    if int8 is not None:
        quantization = int8.quantization(clips(int8, checkpoint, streaming.window_samples))
    return export_keywords(
        classifier,
        out,
        name=name,
        labels=checkpoint.labels,
        streaming=streaming,
        decision=flags.decision(checkpoint.labels),
        provenance=_provenance(checkpoint, licence),
        measured={},
        quantization=quantization,
        formats=graphs.formats,
    )


def checked(
    folder: Path, window_ms: int | None, form: FormFlags, graphs: GraphFlags
) -> tuple[Checkpoint, Streaming]:
    """A folder's facts, and the stream that a manifest tells of.

    Raises:
        ExportError: as `read_checkpoint`.
        CompressError: steps, another format than ONNX or further lengths are asked for, or half a
            window, which is tried too, gives no frame.
    """
    checkpoint = read_checkpoint(folder)
    if form.form == INCREMENTAL or form.chunk_ms is not None:
        raise CompressError(
            "--form incremental and --chunk-ms are for causal models, and "
            f"{checkpoint.architecture} attends to all of what it gets; leave them out, it runs on "
            "windows"
        )
    if set(graphs.formats) != {FORMAT}:
        raise CompressError(
            f"--format must be {FORMAT} for a checkpoint of transformers, since optimum "
            f"writes nothing else, got {' and '.join(graphs.formats)}; leave it out"
        )
    if graphs.lengths_s:
        raise CompressError(
            f"--length is for graphs of fixed shapes, and that of {checkpoint.architecture} takes "
            "any length; leave it out"
        )
    window_samples = (window_ms or DEFAULT_WINDOW_MS) * SAMPLES_PER_MS
    if window_samples < 2 * checkpoint.least_samples:
        least_ms = -(-2 * checkpoint.least_samples // SAMPLES_PER_MS)
        raise CompressError(
            f"--window-ms must be {least_ms} or more: {checkpoint.architecture} makes a frame of "
            f"{checkpoint.least_samples} samples, and half a window is tried too; got {window_ms}"
        )
    return checkpoint, windows(window_samples, form)


def clips(int8: Int8Flags, checkpoint: Checkpoint, window_samples: int) -> Audio:
    """Clips to calibrate by and to compare on.

    Raises:
        DataError: the corpus cannot be used.
    """
    return choose(
        int8.calibration,
        checkpoint.labels,
        window_samples=window_samples,
        min_seconds=_MIN_SECONDS,
        seed=int8.seed,
    )


def _provenance(checkpoint: Checkpoint, licence: str) -> dict[str, Any]:
    return {
        "licence_of_training_data": licence,
        "imported_from": checkpoint.folder.resolve().name,
        "architecture": checkpoint.architecture,
        "sha256": {path.name: file_digest(path) for path in checkpoint.files},
        "versions": {tool: version(tool) for tool in _TOOLS},
    }
