"""What a search's winner costs as exported: nothing predicted."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from export.encoder import export_encoder, export_posteriors
from runtime.bench import time_graph
from runtime.doctor import machine
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.tasks.keywords import load_keywords

from ..cost.macs import SAMPLE_RATE

GRAPH = "encoder.onnx"
KEYWORDS_GRAPH = "keywords.onnx"


def measured(
    encoder: Wav2Vec2Encoder, folder: Path, *, window_samples: int = SAMPLE_RATE, threads: int = 1
) -> dict[str, Any]:
    """Export an encoder into a folder, check the graph against torch, and measure it.

    Args:
        encoder: the dense winner.
        folder: gets `encoder.onnx`.
        window_samples: length of the waveform that is timed.
        threads: processor threads of the engine.

    Returns:
        parameters that the graph computes with, bytes of the file, median latency of a window
        here in ns, and on which machine that was.

    Raises:
        ExportError: the graph differs from the encoder.
    """
    path = folder / GRAPH
    difference = export_encoder(encoder, path, window_samples=window_samples)
    return _of_graph(encoder, path, difference, window_samples=window_samples, threads=threads)


def measured_keywords(
    model: Path, folder: Path, *, window_samples: int, threads: int = 1
) -> dict[str, Any]:
    """The same of a keyword model's checkpoint, whose graph is `keywords.onnx`.

    Raises:
        TrainError: there is no such checkpoint.
        ExportError: the graph differs from the model.
    """
    keywords, path = load_keywords(model), folder / KEYWORDS_GRAPH
    difference = export_posteriors(keywords, path, window_samples=window_samples)
    return _of_graph(keywords, path, difference, window_samples=window_samples, threads=threads)


def _of_graph(
    model: nn.Module, path: Path, difference: float, *, window_samples: int, threads: int
) -> dict[str, Any]:
    graph = path.read_bytes()
    noise = np.random.default_rng(0).normal(0, 0.1, (1, window_samples)).astype(np.float32)
    timing = time_graph(graph, {"pcm": noise}, threads=threads)
    return {
        "params": sum(weight.numel() for weight in model.parameters()),
        "size_bytes": len(graph),
        "latency_ns": timing.median_ns,
        "latency_p90_ns": timing.p90_ns,
        "window_samples": window_samples,
        "threads": threads,
        "machine": machine(),
        "largest_difference_from_torch": difference,
    }
