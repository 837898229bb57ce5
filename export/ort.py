"""The graph for a minimal build of ONNX Runtime: `.ort`, and the operators that build must have.

A folder of its own beside the bundle, see docs/decisions/0024. An app ships model.ort with the
bundle's manifest; the lists are for whoever builds its ONNX Runtime (`--include_ops_by_config`).
"""

import contextlib
import dataclasses
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.atomic import replacing_folder
from runtime.backends.onnx import Engine
from runtime.bundle import read_bundle
from runtime.replay import ask, difference, streamed
from runtime.stream import Model, start_all

from . import ExportError
from .verify import TOLERANCE, odd_lengths, probe

GRAPH = "model.onnx"
MODEL = "model.ort"
OPERATORS = "model.required_operators.config"
OPERATORS_AND_TYPES = "model.required_operators_and_types.config"
"""The same, each operator with the element types that it meets: smaller still, where the build has
`--enable_reduced_operator_type_support`."""
_FLOAT32 = "float32"
_MOST_HOPS = 24


def check_place(out: Path, bundle: Path) -> None:
    """Make sure that the folder may be written.

    Args:
        out: the folder.
        bundle: which it is to lie beside; it need not be there yet.

    Raises:
        ExportError: it would lie in the bundle or around it, or what is there would be lost.
    """
    ours, theirs = out.absolute().resolve(), bundle.absolute().resolve()
    if ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
        raise ExportError(
            f"{out} and the bundle {bundle} cannot hold one another: a bundle holds what its "
            "manifest lists. Choose a folder beside it"
        )
    free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not free and not (out / MODEL).is_file():
        raise ExportError(f"{out} is there and holds no {MODEL} to replace; choose another folder")


def write_ort(bundle: Path, out: Path) -> dict[str, Any]:
    """Convert a bundle's graph, list its operators, and prove that it answers as before.

    The graph is optimized for Arm, without what only this machine's processor could run.

    Args:
        bundle: a folder or its zip, with a model.onnx.
        out: the folder to write; an older one is replaced.

    Returns:
        the folder, the size of its graph and its largest difference from the bundle's.

    Raises:
        BundleFault: the bundle cannot be read.
        ExportError: it has no such graph, ONNX Runtime cannot convert it, or the answers differ.
        OSError: the disk is full; an older folder is left as it was.
    """
    check_place(out, bundle)
    whole = read_bundle(bundle)
    graph = whole.files.get(GRAPH)
    if graph is None:
        raise ExportError(f"{bundle} holds no {GRAPH} to convert; export it in that format too")
    model = next(model for file, model in start_all(whole) if file == GRAPH)
    with replacing_folder(out) as folder:
        origin = (
            f"# of {MODEL}, made from {GRAPH} with sha256 {model.manifest.files[GRAPH]}\n"
            f"# by {model.engine.version}\n"
        )
        _convert(graph, folder, origin)
        converted = dataclasses.replace(model, engine=Engine((folder / MODEL).read_bytes()))
        # In 8 bits other kernels may round a value that lies between two steps to either of them.
        in_float = model.manifest.measured.get("precision", _FLOAT32) == _FLOAT32
        tolerance = TOLERANCE if in_float else whole.golden().tolerance
        gap = _largest_difference(model, converted)
        if not gap <= tolerance:
            raise ExportError(
                f"{MODEL} answers otherwise than {GRAPH}, by {gap:.2g}; at most {tolerance:.1g} is "
                f"allowed. Nothing was written to {out}; the bundle itself is whole."
            )
        size_bytes = (folder / MODEL).stat().st_size
    return {
        "folder": str(out),
        "model_size_bytes": size_bytes,
        "largest_difference_from_onnx": gap,
    }


def _convert(graph: bytes, folder: Path, origin: str) -> None:
    """Write the graph and both lists; raises ExportError where ONNX Runtime cannot."""
    from onnxruntime.tools.convert_onnx_models_to_ort import (
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )
    from onnxruntime.tools.ort_format_model import create_config_from_models

    with tempfile.TemporaryDirectory() as name, _quiet():
        (Path(name) / GRAPH).write_bytes(graph)
        made = Path(name) / "made"
        try:
            convert_onnx_models_to_ort(
                Path(name) / GRAPH, made, [OptimizationStyle.Fixed], target_platform="arm"
            )
            # Its name tells the level of optimization, where the environment sets one.
            (path,) = made.glob("*.ort")
            for file, with_types in ((OPERATORS, False), (OPERATORS_AND_TYPES, True)):
                create_config_from_models([path], Path(name) / file, with_types)
        # ONNX Runtime's exceptions have no public base class, and its scripts raise any.
        except Exception as error:
            raise ExportError(
                f"ONNX Runtime cannot make a {MODEL} of this graph: {error}. Leave --ort out, or "
                "export other layers"
            ) from error
        (folder / MODEL).write_bytes(path.read_bytes())
        for file in (OPERATORS, OPERATORS_AND_TYPES):
            lines = (Path(name) / file).read_text(encoding="utf-8").splitlines(keepends=True)
            # Its comments name a temporary file of this machine.
            told = "".join(line for line in lines if not line.startswith("#"))
            (folder / file).write_text(origin + told, encoding="utf-8")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's scripts speak to people, on stdout and in the log."""
    logger = logging.getLogger("ort_format_model.utils")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _largest_difference(model: Model, converted: Model) -> float:
    """Of any answer, streamed hop by hop, and without a stream where the graph takes any length."""
    streaming = model.manifest.streaming
    num_samples = min(2 * streaming.window_samples, _MOST_HOPS * streaming.hop_samples)
    num_samples = max(num_samples, 2 * streaming.hop_samples)
    waveform = probe(num_samples, batch=1, seed=4)[0]
    hops = (streaming.hop_samples,) * (num_samples // streaming.hop_samples)
    answers = [streamed(each, waveform, hops) for each in (converted, model)]
    worst = difference(*answers)
    (pcm,) = (tensor for tensor in model.engine.inputs if tensor.name == "pcm")
    if all(isinstance(size, str) for size in pcm.shape):
        for number, length in enumerate(odd_lengths(streaming.window_samples)):
            recording = probe(length, batch=1 + number % 2, seed=4)
            worst = max(worst, difference(ask(converted, recording), ask(model, recording)))
    return worst
