"""The model run on each hop alone, with the states that the hop before left.

Answer k is there once (k + 1) * hop samples were received and depends on no later one. States are
the manifest's: filled with their initial values before the first hop, and replaced all together.
"""

import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from ..faults import BundleFault
from ..manifest import Manifest, Streaming
from . import Ask

if TYPE_CHECKING:
    from ..stream import Model


_ALIGN = 16
"""Numbers, 64 bytes: where a state begins, as an allocation of its own would."""


@runtime_checkable
class BindingEngine(Protocol):
    """An engine that can work in its caller's memory, which spares a stream copies."""

    def bind(
        self, feeds: Mapping[str, np.ndarray], into: Mapping[str, np.ndarray]
    ) -> Callable[[], None]:
        """A run from some arrays into others; it raises BundleFault as `Engine.run` does."""


class States:
    """One stream's states, in arrays of its own."""

    def __init__(self, model: "Model") -> None:
        manifest = model.manifest
        self._model = model
        self._hop = np.zeros((1, manifest.streaming.hop_samples), dtype=np.float32)
        self._now, self._next = (_Set(manifest) for _ in range(2))
        self._step, self._step_after = (
            self._run(one, other)
            for one, other in ((self._now, self._next), (self._next, self._now))
        )
        self._initial = [state.initial for state in manifest.states]
        self.size_bytes = sum(array.nbytes for array in self._now.arrays.values())
        self.reset()

    def answer(self, hop: np.ndarray) -> np.ndarray:
        """The graph's to this hop; states are replaced only where all it gives is finite."""
        self._hop[0] = hop
        self._step()
        given = self._next
        # One product says it of all but enormous values, in a third of the time of a look at each.
        if not math.isfinite(given.flat.dot(given.flat)):
            for name, array in given.given.items():
                self._model.check(name, array, array.shape)
        self._now, self._next = given, self._now
        self._step, self._step_after = self._step_after, self._step
        return given.row

    def warm(self, hop: np.ndarray) -> None:
        """States come of running the graph alone."""
        self.answer(hop)

    def reset(self) -> None:
        """Back to the initial values."""
        for array, initial in zip(self._now.arrays.values(), self._initial, strict=True):
            array.fill(initial)

    def _run(self, now: "_Set", after: "_Set") -> Callable[[], None]:
        """The graph from one set of states into the other, and the answer into its place."""
        feeds = {self._model.manifest.inputs[0].name: self._hop, **now.arrays}
        into = after.given
        engine = self._model.engine
        if isinstance(engine, BindingEngine):
            return engine.bind(feeds, into)

        def run() -> None:
            values = engine.run(feeds)
            for name, array in into.items():
                value = values[name]
                if value.shape != array.shape:  # numpy would stretch it
                    self._model.check(name, value, array.shape)
                array[...] = value  # an engine may write over its buffers

        return run


class _Set:
    """Arrays for an answer and the states after it, in one piece of memory: one look says whether
    all of it is finite."""

    def __init__(self, manifest: Manifest) -> None:
        states = manifest.states
        shapes = [(1, *manifest.answer_shape), *(state.shape for state in states)]
        sizes = [math.prod(shape) for shape in shapes]
        places = list(accumulate((-(-size // _ALIGN) * _ALIGN for size in sizes), initial=0))
        self.flat = np.zeros(places[-1], dtype=np.float32)
        answer, *arrays = [
            self.flat[place : place + size].reshape(shape)
            for shape, place, size in zip(shapes, places, sizes, strict=False)
        ]
        self.row: np.ndarray = answer[0]
        self.arrays = {state.name: array for state, array in zip(states, arrays, strict=True)}
        """States by the names of the graph's inputs."""
        self.given = {manifest.outputs[0].name: answer} | {
            state.next_name: array for state, array in zip(states, arrays, strict=True)
        }
        """All by the names of its outputs."""


def start(model: "Model") -> States:
    """The states before the first hop."""
    return States(model)


def ask(model: "Model", pcm: np.ndarray) -> np.ndarray:
    """The graph stepped through one recording: an answer for each hop, (answers, ...).

    Written apart from `States`, which is held to it.
    """
    manifest = model.manifest
    given, answered = manifest.inputs[0].name, manifest.outputs[0].name
    states = {
        state.name: np.full(state.shape, state.initial, dtype=np.float32)
        for state in manifest.states
    }
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
