"""Bundles of a few thousand random weights to try elsewhere, in either form and any precision."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.bundle import export_keywords
from export.gate import Evidence, Limits, Quantization
from export.quantize import Precision
from runtime.manifest import Decision, Streaming
from train.models.causal_keyword_transformer import (
    CausalKeywordTransformer,
    CausalKeywordTransformerConfig,
)
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.tasks.keyword_step import KeywordStep
from train.tasks.keywords import KeywordModel

LABELS = ("_silence_", "no", "yes")
WINDOW_SAMPLES, HOP_SAMPLES = 4_000, 1_600
KINDS = {
    f"{form}-{precision.value}": (form, precision)
    for form in ("sliding_window", "incremental")
    for precision in Precision
}
"""Of bundles, by name."""


def clips(count: int, seed: int, num_samples: int = WINDOW_SAMPLES) -> NDArray[np.float32]:
    """Tones in noise: (count, num_samples) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    time = np.arange(num_samples) / 16_000
    tones = 0.4 * np.sin(2 * np.pi * rng.uniform(100, 4_000, (count, 1)) * time)
    return (tones + rng.normal(0, 0.05, (count, num_samples))).astype(np.float32)


def write_bundle(out: Path, kind: str, formats: tuple[str, ...]) -> Path:
    """Export a model as `compress export` does.

    Args:
        out: the bundle's folder.
        kind: of `KINDS`: a DS-CNN on windows, or a causal Keyword Transformer step by step.
        formats: of its graphs.

    Returns:
        `out`.
    """
    form, precision = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body: DsCnn | CausalKeywordTransformer
        if form == "incremental":
            sizes = CausalKeywordTransformerConfig(
                embed_dim=16, num_heads=2, head_dim=8, ffn_dim=32, num_layers=2, pooled_ms=400
            )
            body = CausalKeywordTransformer(sizes)
        else:
            body = DsCnn(DsCnnConfig(num_mels=12, channels=6, num_blocks=1))
        model = KeywordModel(body, LABELS)
        with torch.no_grad():  # running statistics of signals, and answers worth comparing
            for part in model.modules():
                if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                    part.momentum = None
            model.train()(torch.from_numpy(clips(16, 3)))
            model.classifier.weight.mul_(8)
    model.eval()
    module: torch.nn.Module = model
    streaming = Streaming(window_samples=WINDOW_SAMPLES, hop_samples=HOP_SAMPLES)
    if form == "incremental":
        module = step = KeywordStep(model, 2)
        streaming = Streaming(
            form=form, window_samples=step.window_samples, hop_samples=step.chunk_samples
        )
    quantization = None
    if precision is not Precision.FLOAT32:
        samples = streaming.window_samples
        quantization = Quantization(
            precision=precision,
            evidence=Evidence(
                calibration=clips(8, 1, samples), windows=clips(16, 2, samples), wanted=None
            ),
            limits=Limits(min_snr_db=10.0),  # untrained: its answers lie close together
        )
    export_keywords(
        module,
        out,
        name="tiny",
        labels=LABELS,
        streaming=streaming,
        decision=Decision(keywords=("no", "yes"), threshold=0.9),
        provenance={},
        measured={},
        quantization=quantization,
        formats=formats,
    )
    return out
