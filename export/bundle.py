"""Write a bundle: the graph, its golden pair and a sealed manifest, whole or not at all."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from runtime.atomic import replacing_folder
from runtime.backends.onnx import Engine
from runtime.bundle import file_digest
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, Decision, Manifest, State, Streaming, seal
from runtime.stream import load
from runtime.verified import TABLE, Cell

from .clips import Face
from .gate import Accepted, Quantization, quantize
from .matrix import float32_cases, int8_cases, verify_bundle
from .quantize import Precision
from .streaming import exportable
from .targets import onnx
from .verify import parity

_TOLERANCE = 1e-4
"""Other processors sum in other orders: ten times the bound that holds on one machine."""


def export_keywords(
    classifier: nn.Module,
    out: Path,
    *,
    name: str,
    labels: tuple[str, ...],
    streaming: Streaming,
    decision: Decision,
    provenance: Mapping[str, Any],
    measured: Mapping[str, Any],
    quantization: Quantization | None = None,
) -> Manifest:
    """Export a keyword classifier and prove it, the graph first and then the bundle as written.

    Args:
        classifier: (batch, samples) at 16 kHz in [-1, 1] to logits (batch, labels); for the
            incremental form a `streaming.StepModule`.
        out: the bundle's folder; an older one is replaced.
        name: what people call it.
        labels: classes in the order of the logits.
        streaming: form, window and hop.
        decision: which labels make events, and when.
        provenance: recipe, commit, teacher, licence of the training data.
        measured: figures of the trained model and how they were measured; size and parity are
            added here, and the table of how the bundle was run (`verified`). In 8 bits what is
            measured in float is told as float32's, beside the bundle's own.
        quantization: how to store weights in 8 bits; None: they stay float32.

    Raises:
        ExportError: a stream of it would differ from the trained form, the graph differs from the
            trained model, or in 8 bits is no longer the model, or the bundle run in one of the ways
            of `matrix` is not.
        BundleFault: labels, window or decision break a rule of the format.
        OSError: the disk is full; nothing is left behind.
    """
    exported = exportable(classifier, streaming, len(labels))
    with replacing_folder(out) as folder:
        graph = folder / f"model{onnx.SUFFIX}"
        exported.write(onnx, graph)
        difference = parity(exported.answers, graph.read_bytes(), exported.recordings(seed=0))
        figures = {
            **measured,
            "model_size_bytes": graph.stat().st_size,
            "largest_difference_from_torch": difference,
        }
        tolerance, offline = _TOLERANCE, float32_cases(exported)
        if quantization is not None:
            accepted = quantize(graph.read_bytes(), quantization)
            graph.write_bytes(accepted.graph)
            figures = _figures(accepted, quantization, float32=figures)
            tolerance = accepted.tolerance
            offline = int8_cases(accepted, quantization.evidence, exported)
        _write_golden(folder / GOLDEN_FILE, graph.read_bytes(), exported.golden(), tolerance)
        precision = Precision.FLOAT32 if quantization is None else quantization.precision
        manifest = seal(
            Manifest(
                name=name,
                labels=labels,
                streaming=streaming,
                decision=decision,
                states=exported.states,
                files={path.name: file_digest(path) for path in (graph, folder / GOLDEN_FILE)},
                provenance=provenance,
                measured={
                    "precision": precision.value,
                    **figures,
                    "num_params": sum(one.numel() for one in exported.module.parameters()),
                    **_states_size(exported.states),
                },
            )
        )
        _write_manifest(folder, manifest)
        # The table is of the bundle as the device will get it, so it is made once there is one.
        cells = verify_bundle(folder, exported, precision=precision, offline=offline)
        return _with_table(folder, manifest, cells)


def _states_size(states: Sequence[State]) -> dict[str, int]:
    """What a stream keeps between two steps; nothing where there are no steps."""
    numbers = sum(math.prod(state.shape) for state in states)
    return {"states_size_bytes": 4 * numbers} if states else {}


def _figures(
    accepted: Accepted, asked: Quantization, *, float32: Mapping[str, Any]
) -> dict[str, Any]:
    """What the manifest tells of a graph in 8 bits; what was measured in float is told apart."""
    comparison = accepted.comparison
    own: dict[str, Any] = {}
    if comparison.streams_snr_db is not None:
        own["streams_snr_db"] = comparison.streams_snr_db
    if comparison.accuracy is not None and comparison.float32_accuracy is not None:
        own["valid"] = {
            "accuracy": comparison.accuracy,
            "accuracy_drop": comparison.float32_accuracy - comparison.accuracy,
            "clips": len(asked.evidence.windows),
        }
    if accepted.layers_snr_db is not None:
        own["layers"] = [
            {"layer": name, "snr_db": snr_db} for name, snr_db in accepted.layers_snr_db.items()
        ]
    return {
        **own,
        "model_size_bytes": len(accepted.graph),
        "snr_db": comparison.snr_db,
        "odd_lengths_snr_db": comparison.odd_lengths_snr_db,
        "largest_difference_from_float32": comparison.largest_difference,
        "layers_kept_float": list(accepted.kept_float),
        "calibration_clips": len(asked.evidence.calibration),
        "float32": dict(float32),
    }


def _with_table(folder: Path, manifest: Manifest, cells: tuple[Cell, ...]) -> Manifest:
    """Seal the manifest anew, and load the bundle with it once more."""
    measured = {**manifest.measured, TABLE: [cell.to_dict() for cell in cells]}
    manifest = seal(dataclasses.replace(manifest, measured=measured))
    _write_manifest(folder, manifest)
    load(folder)
    return manifest


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def _write_golden(path: Path, graph: bytes, pcm: NDArray[np.float32], tolerance: float) -> None:
    """One input, this machine's answers, and how far another machine's may lie from them."""
    engine = Engine(graph)
    posteriors = Face.of(engine.inputs).answers(engine.run, pcm, "posteriors")
    np.savez_compressed(path, pcm=pcm, posteriors=posteriors, tolerance=np.float64(tolerance))
