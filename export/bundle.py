"""Write a bundle: the graph, its golden pair and a sealed manifest, whole or not at all."""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from runtime.atomic import replacing_folder
from runtime.bundle import file_digest
from runtime.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    Decision,
    Manifest,
    State,
    Streaming,
    Tensor,
    seal,
)
from runtime.manifest_rules import KEYWORDS, PHONES
from runtime.stream import load
from runtime.verified import TABLE, Cell

from .clips import Face
from .exportable import Exportable
from .gate import Accepted, Quantization, quantize
from .matrix import Offline, float32_cases, int8_cases, verify_bundle
from .quantize import Precision
from .streaming import exportable, step_of
from .targets import DEFAULT_FORMAT, Target, get_targets
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
    formats: Collection[str] = (DEFAULT_FORMAT,),
    lengths: Collection[int] = (),
) -> Manifest:
    """Export a keyword classifier and prove it, the graph first and then the bundle as written.

    Args:
        classifier: (batch, samples) at 16 kHz in [-1, 1] to logits (batch, labels); for the
            incremental form a `streaming.StepModule`; or a `huggingface.Classifier`.
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
        formats: one or more of `targets`; a device runs the first that it has an engine for.
        lengths: samples that graphs of fixed shapes take beside the window's; sliding window only.

    Raises:
        ExportError: no such format or quantizer, its tools are not installed, the classifier has
            no such form or format, a stream of it would differ from the trained form, the graph
            differs from the trained model, or in 8 bits is no longer the model, or the bundle run
            in one of the ways of `matrix` is not.
        BundleFault: labels, window or decision break a rule of the format.
        OSError: the disk is full; nothing is left behind.
    """
    targets = get_targets(formats, None if quantization is None else quantization.quantizer)
    described = partial(
        Manifest,
        name=name,
        task=KEYWORDS,
        labels=labels,
        streaming=streaming,
        decision=decision,
        provenance=provenance,
    )
    exported = exportable(classifier, streaming, len(labels), lengths)
    return _export(exported, targets, out, described, measured, quantization)


def export_phones(
    step: nn.Module,
    out: Path,
    *,
    name: str,
    labels: tuple[str, ...],
    streaming: Streaming,
    frames: int,
    provenance: Mapping[str, Any],
    measured: Mapping[str, Any],
    quantization: Quantization | None = None,
    formats: Collection[str] = (DEFAULT_FORMAT,),
) -> Manifest:
    """Export a phone model and prove it, as `export_keywords`.

    Args:
        step: a `streaming.StepModule` whose answer is (frames, labels).
        out: the bundle's folder; an older one is replaced.
        name: what people call it.
        labels: phones, and what else competes with them, in the order of the logits.
        streaming: incremental; window and hop.
        frames: of a hop.
        provenance, measured, quantization, formats: as `export_keywords`.

    Raises:
        ExportError, BundleFault, OSError: as `export_keywords`.
    """
    targets = get_targets(formats, None if quantization is None else quantization.quantizer)
    shape = (frames, len(labels))
    described = partial(
        Manifest,
        name=name,
        task=PHONES,
        labels=labels,
        streaming=streaming,
        outputs=(Tensor(name="posteriors", shape=(1, *shape), dtype="float32"),),
        provenance=provenance,
    )
    exported = step_of(step, streaming, shape)
    return _export(exported, targets, out, described, measured, quantization)


def _export(
    exported: Exportable,
    targets: Sequence[Target],
    out: Path,
    described: Callable[..., Manifest],
    measured: Mapping[str, Any],
    quantization: Quantization | None,
) -> Manifest:
    """Write graphs, golden pair and manifest, and run the bundle in every way.

    Args:
        exported: the model in its form.
        targets: of the formats.
        out: the bundle's folder.
        described: a manifest by what is known once its files are: states, files, measured.
        measured, quantization: as `export_keywords`.
    """
    precision = Precision.FLOAT32 if quantization is None else quantization.precision
    with replacing_folder(out) as folder:
        graphs = [_written(exported, target, folder, quantization) for target in targets]
        graphs.sort(key=lambda graph: graph.path.name)  # as the manifest will have them
        _write_golden(folder / GOLDEN_FILE, graphs, exported.golden())
        first, *others = graphs
        figures = first.figures(measured, quantization)
        if others:
            figures["further_graphs"] = {
                graph.path.name: graph.figures({}, quantization) for graph in others
            }
        paths = [*(graph.path for graph in graphs), folder / GOLDEN_FILE]
        manifest = seal(
            described(
                states=exported.states,
                files={path.name: file_digest(path) for path in paths},
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
        cells = verify_bundle(
            folder,
            exported,
            precision=precision,
            offline={graph.path.name: graph.offline for graph in graphs},
        )
        return _with_table(folder, manifest, cells)


@dataclass(frozen=True, eq=False)
class _Graph:
    """One format's graph as written, and what is known of it."""

    path: Path
    target: Target
    float32: Mapping[str, Any]
    """Figures of the float graph."""
    accepted: Accepted | None
    """What passed the gate; None: the float graph is the one that was written."""
    offline: tuple[Offline, ...]
    """Recordings that it must answer like torch."""

    @property
    def tolerance(self) -> float:
        """Of the golden pair."""
        return _TOLERANCE if self.accepted is None else self.accepted.tolerance

    def figures(self, measured: Mapping[str, Any], asked: Quantization | None) -> dict[str, Any]:
        """What the manifest tells of it, beside what was measured in float."""
        figures = {**measured, **self.float32}
        if self.accepted is None or asked is None:
            return figures
        return _figures(self.accepted, asked, float32=figures)


def _written(
    exported: Exportable, target: Target, folder: Path, quantization: Quantization | None
) -> _Graph:
    """Raises ExportError as `export_keywords` does of a graph."""
    path = folder / f"model{target.SUFFIX}"
    exported.write(target, path)
    graph = path.read_bytes()
    recordings = exported.recordings(seed=0)
    difference = parity(exported.answers, graph, recordings, start=target.Engine)
    float32 = {"model_size_bytes": len(graph), "largest_difference_from_torch": difference}
    if quantization is None:
        return _Graph(path, target, float32, None, float32_cases(exported))
    accepted = quantize(graph, quantization, target)
    path.write_bytes(accepted.graph)
    faces = target.Engine(accepted.graph).faces
    offline = int8_cases(accepted, quantization.evidence, exported, faces)
    return _Graph(path, target, float32, accepted, offline)


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
    if comparison.odd_lengths_snr_db is not None:
        own["odd_lengths_snr_db"] = comparison.odd_lengths_snr_db
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
        "quantizer": accepted.quantizer,
        "model_size_bytes": len(accepted.graph),
        "snr_db": comparison.snr_db,
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


def _write_golden(path: Path, graphs: Sequence[_Graph], pcm: NDArray[np.float32]) -> None:
    """One input, this machine's answers, and how far another machine's may lie from them.

    In float all graphs answer alike, and share the pair; in 8 bits each has its own answers.
    """
    arrays: dict[str, NDArray[Any]] = {"pcm": pcm}
    for number, graph in enumerate(graphs):
        if number and graph.accepted is None:
            continue
        prefix = f"{graph.path.name}." if number else ""
        engine = graph.target.Engine(graph.path.read_bytes())
        posteriors = Face.of(engine.inputs).answers(engine.run, pcm, "posteriors")
        arrays[f"{prefix}posteriors"] = posteriors
        arrays[f"{prefix}tolerance"] = np.array(graph.tolerance)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
