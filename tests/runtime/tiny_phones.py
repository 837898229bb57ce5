"""A tiny phone model with a state: each frame's mean beside the one before it, in numpy."""

from collections.abc import Mapping

import numpy as np
from tiny_steps import softmax

from runtime.bundle import GOLDEN_FILE, Manifest, State, Streaming, Tensor, seal
from runtime.stream import Model

LABELS = ("_blank_", "AA", "B")
FRAME, FRAMES = 4, 3
"""Samples of a frame, and frames of a hop."""
HOP = FRAME * FRAMES
RATE = 4_000
WEIGHTS = np.array([[9.0, -9.0, 0.0], [0.0, 6.0, -6.0]], dtype=np.float32)
_ZEROS = "0" * 64


def manifest(**changes) -> Manifest:
    values = {
        "name": "tiny phones",
        "task": "phones",
        "labels": LABELS,
        "sample_rate": RATE,
        "streaming": Streaming(form="incremental", window_samples=2 * HOP, hop_samples=HOP),
        "outputs": (Tensor(name="posteriors", shape=(1, FRAMES, len(LABELS)), dtype="float32"),),
        "states": (State(name="last", shape=(1, 1)),),
        "files": {"model.fake": _ZEROS, GOLDEN_FILE: _ZEROS},
    }
    return seal(Manifest(**(values | changes)))


def expected(waveform: np.ndarray) -> np.ndarray:
    """(samples,) to (frames, labels) of its whole hops, with no state in sight."""
    whole = waveform[: len(waveform) // HOP * HOP].astype(np.float64)
    means = whole.reshape(-1, FRAME).mean(axis=1)
    before = np.concatenate([np.zeros(min(1, len(means))), means[:-1]])
    return softmax(np.stack([means, before], axis=1) @ WEIGHTS.astype(np.float64))


class PhoneEngine:
    """It writes over its own buffers at every run, as some engines do."""

    version = "phones 1.0"

    def __init__(self) -> None:
        self.inputs = manifest().graph_inputs
        self.outputs = manifest().graph_outputs
        self.faces = (self.inputs,)
        self.fails = False
        self._buffers = {t.name: np.zeros(t.shape, dtype=np.float32) for t in self.outputs}

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        means = feeds["pcm"].reshape(FRAMES, FRAME).mean(axis=1)
        before = np.concatenate([feeds["last"][0], means[:-1]])
        self._buffers["posteriors"][0] = softmax(np.stack([means, before], axis=1) @ WEIGHTS)
        self._buffers["last_next"][0] = means[-1]
        if self.fails:
            self._buffers["posteriors"][:] = np.nan
        return self._buffers


def fake_phones() -> Model:
    return Model(manifest=manifest(), engine=PhoneEngine())
