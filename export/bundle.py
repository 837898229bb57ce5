"""Write a bundle: the graph, its golden pair and a sealed manifest, whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from runtime.atomic import replacing_folder
from runtime.backends.onnx import Engine
from runtime.bundle import file_digest
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, Decision, Manifest, Streaming, seal
from runtime.stream import load

from .exportable import Posteriors
from .targets import onnx
from .verify import largest_difference, odd_lengths, probe


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
) -> Manifest:
    """Export a keyword classifier and prove it.

    Args:
        classifier: (batch, samples) at 16 kHz in [-1, 1] to logits (batch, labels).
        out: the bundle's folder; an older one is replaced.
        name: what people call it.
        labels: classes in the order of the logits.
        streaming: window and hop.
        decision: which labels make events, and when.
        provenance: recipe, commit, teacher, licence of the training data.
        measured: figures and how they were measured; size and parity are added here.

    Raises:
        ExportError: the graph differs from the trained model.
        BundleFault: labels, window or decision break a rule of the format.
        OSError: the disk is full; nothing is left behind.
    """
    module = Posteriors(classifier)
    window_samples = streaming.window_samples
    with replacing_folder(out) as folder:
        graph = folder / f"model{onnx.SUFFIX}"
        onnx.write(module, graph, window_samples=window_samples)
        difference = largest_difference(module, graph.read_bytes(), odd_lengths(window_samples))
        _write_golden(folder / GOLDEN_FILE, graph.read_bytes(), window_samples)
        manifest = seal(
            Manifest(
                name=name,
                labels=labels,
                streaming=streaming,
                decision=decision,
                files={path.name: file_digest(path) for path in (graph, folder / GOLDEN_FILE)},
                provenance=provenance,
                measured={
                    **measured,
                    "model_size_bytes": graph.stat().st_size,
                    "num_params": sum(parameter.numel() for parameter in module.parameters()),
                    "largest_difference_from_torch": difference,
                },
            )
        )
        (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        load(folder)  # as the device will: what manifest and graph say must agree
    return manifest


def _write_golden(path: Path, graph: bytes, window_samples: int) -> None:
    """One input, this machine's answer, and how far another machine's may lie from it."""
    pcm = probe(window_samples, batch=1, seed=1)
    posteriors = Engine(graph).run({"pcm": pcm})["posteriors"]
    # Other processors sum in other orders: ten times the bound that holds on one machine.
    np.savez_compressed(path, pcm=pcm, posteriors=posteriors, tolerance=np.float64(1e-4))
