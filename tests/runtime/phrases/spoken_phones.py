"""A phone model without weights: what it "hears" in a frame stands in the frame's own samples."""

from collections.abc import Mapping, Sequence

import numpy as np

from runtime.bundle import GOLDEN_FILE, Manifest, State, Streaming, Tensor
from runtime.phrases.asked import listening_for
from runtime.stream import Model

LABELS = ("_blank_", "A", "B", "C", "SIL", "ERR")
FRAME, FRAMES, RATE = 8, 3, 4000
"""Samples of a frame, as many as hold a row of posteriors; frames of a hop; samples a second."""
HOP = FRAME * FRAMES
WINDOW_HOPS = 4


class Heard:
    """Posteriors are samples scaled up, and silence, which no row is, is blank."""

    version = "heard 1.0"

    def __init__(self, manifest: Manifest) -> None:
        self.inputs, self.outputs = manifest.graph_inputs, manifest.graph_outputs
        self.faces = (self.inputs,)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = feeds["pcm"].reshape(FRAMES, FRAME)[:, : len(LABELS)].copy()
        rows[np.abs(rows).sum(axis=1) < 1e-4, 0] = 1.0
        rows /= rows.sum(axis=1, keepdims=True)
        return {"posteriors": rows[None].astype(np.float32), "last_next": feeds["last"]}


def phone_model(keywords: Mapping[str, Sequence[str]] | None = None) -> Model:
    """With keywords, a text to its ways in phones, such as "A B", it listens for them."""
    manifest = Manifest(
        name="heard",
        task="phones",
        labels=LABELS,
        sample_rate=RATE,
        streaming=Streaming(form="incremental", window_samples=WINDOW_HOPS * HOP, hop_samples=HOP),
        outputs=(Tensor(name="posteriors", shape=(1, FRAMES, len(LABELS)), dtype="float32"),),
        states=(State(name="last", shape=(1, 1)),),
        files={"model.fake": "0" * 64, GOLDEN_FILE: "0" * 64},
    )
    model = Model(manifest=manifest, engine=Heard(manifest))
    if keywords is None:
        return model
    return listening_for(
        model, {text: [way.split() for way in ways] for text, ways in keywords.items()}
    )


def posteriors_of(said: str, *, peak: float = 0.9) -> np.ndarray:
    """(frames, labels) of labels' names, "-" for a blank; what is not said shares the rest."""
    names = [LABELS[0] if name == "-" else name for name in said.split()]
    rows = np.full((len(names), len(LABELS)), (1.0 - peak) / (len(LABELS) - 1))
    rows[np.arange(len(names)), [LABELS.index(name) for name in names]] = peak
    return rows


def waveform_of(posteriors: np.ndarray) -> np.ndarray:
    """What the model hears as these; fifty frames of a second are far from the gate's floor."""
    samples = np.zeros((len(posteriors), FRAME), dtype=np.float32)
    samples[:, : len(LABELS)] = posteriors
    return samples.ravel()
