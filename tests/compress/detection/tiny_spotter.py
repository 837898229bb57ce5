"""A spotter without an engine: what it "says" about a hop stands in the hop's own samples."""

from collections.abc import Mapping

import numpy as np

from runtime.manifest import GOLDEN_FILE, Decision, Manifest, Streaming, Tensor
from runtime.stream import Model

HOP_SAMPLES = 5
LABELS = ("_silence_", "no", "yes", "yes sir")
KEYWORDS = ("yes sir", "no", "yes")
"""Not in the labels' order, as a manifest may have them; one lies within another."""


class Spoken:
    """Posteriors of a window are its last hop's first samples, one a label."""

    inputs = (Tensor(name="pcm", shape=("batch", "samples"), dtype="float32"),)
    outputs = (Tensor(name="posteriors", shape=("batch", len(LABELS)), dtype="float32"),)
    faces = (inputs,)
    version = "spoken 1.0"

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        hop = feeds["pcm"][:, -HOP_SAMPLES:]
        return {"posteriors": np.array(hop[:, : len(LABELS)])}


def spotter(*, smoothing_windows: int = 1, patience: int = 1, refractory_samples: int = 0) -> Model:
    """With windows of two hops."""
    manifest = Manifest(
        name="spoken",
        labels=LABELS,
        streaming=Streaming(window_samples=2 * HOP_SAMPLES, hop_samples=HOP_SAMPLES),
        decision=Decision(
            keywords=KEYWORDS,
            threshold=0.5,
            smoothing_windows=smoothing_windows,
            patience=patience,
            refractory_samples=refractory_samples,
        ),
        files={"model.spoken": "0" * 64, GOLDEN_FILE: "0" * 64},
    )
    return Model(manifest=manifest, engine=Spoken())


def say(posteriors: np.ndarray) -> np.ndarray:
    """The waveform to which a spotter answers (answers, num_labels) of posteriors."""
    hops = np.zeros((len(posteriors), HOP_SAMPLES), dtype=np.float32)
    hops[:, : len(LABELS)] = posteriors
    return hops.ravel()
