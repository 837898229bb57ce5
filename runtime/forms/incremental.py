"""The model run on each hop alone, with the states that the hop before left.

Answer k is there once (k + 1) * hop samples were received and depends on no later one. States are
the manifest's: filled with their initial values before the first hop, and replaced all together.
"""

from typing import TYPE_CHECKING

import numpy as np

from ..faults import BundleFault
from ..manifest import Manifest, Streaming
from . import Ask

if TYPE_CHECKING:
    from ..stream import Model


class States:
    """One stream's states, in arrays of its own."""

    def __init__(self, model: "Model") -> None:
        manifest = model.manifest
        self._model = model
        self._hop = np.zeros((1, manifest.streaming.hop_samples), dtype=np.float32)
        states = _initial(manifest)
        self._feeds = {manifest.inputs[0].name: self._hop, **states}
        self._posteriors = manifest.outputs[0].name
        self._states = [
            (states[state.name], state.next_name, state.initial) for state in manifest.states
        ]
        self.size_bytes = sum(values.nbytes for values in states.values())

    def answer(self, hop: np.ndarray) -> np.ndarray:
        """The graph's to this hop; states are replaced only where all it gives is finite."""
        self._hop[0] = hop
        values = self._model.run(self._feeds)
        for state, next_name, _ in self._states:
            state[...] = values[next_name]  # a copy: an engine may write over its buffers
        posteriors: np.ndarray = values[self._posteriors][0]
        return posteriors

    def reset(self) -> None:
        """Back to the initial values."""
        for state, _, initial in self._states:
            state.fill(initial)


def start(model: "Model") -> States:
    """The states before the first hop."""
    return States(model)


def ask(model: "Model", pcm: np.ndarray) -> np.ndarray:
    """The graph stepped through one recording: an answer for each hop, (answers, num_labels).

    Written apart from `States`, which is held to it.
    """
    manifest = model.manifest
    given, answered = manifest.inputs[0].name, manifest.outputs[0].name
    states = _initial(manifest)
    answers = []
    for hop in np.split(pcm, num_answers(pcm.shape, manifest.streaming), axis=1):
        values = model.engine.run({given: hop, **states})
        states = {state.name: np.array(values[state.next_name]) for state in manifest.states}
        answers.append(np.array(values[answered]))
    return np.concatenate(answers)


def num_answers(shape: tuple[int, ...], streaming: Streaming) -> int:
    """One a hop of the single recording."""
    batch, num_samples = shape
    hop_samples = streaming.hop_samples
    if batch != 1 or num_samples < hop_samples or num_samples % hop_samples:
        raise BundleFault(
            f"a model with states takes one recording of whole hops, (1, n * {hop_samples}) "
            f"samples, got {shape}. Cut it to whole hops, or pad it with silence."
        )
    return num_samples // hop_samples


def offline(ask: Ask, waveform: np.ndarray, streaming: Streaming) -> np.ndarray:
    """The answers of `ask` to all whole hops at once: a trained module sees one piece."""
    num_samples = len(waveform) // streaming.hop_samples * streaming.hop_samples
    return ask(waveform[None, :num_samples])


def in_stream(num_samples: int, streaming: Streaming) -> range:
    """All."""
    return range(num_samples // streaming.hop_samples)


def _initial(manifest: Manifest) -> dict[str, np.ndarray]:
    return {
        state.name: np.full(state.shape, state.initial, dtype=np.float32)
        for state in manifest.states
    }
