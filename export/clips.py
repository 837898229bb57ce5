"""A graph run over clips: at once where it takes a window, step by step where it hands on states.

Which of the two it is, its inputs say: `pcm` alone, or `pcm` of one chunk and the states.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.manifest import Tensor

Arrays = Mapping[str, NDArray[np.float32]]
"""By the name of an input or output."""
Run = Callable[[Arrays], Arrays]
"""A graph: inputs to outputs."""
_STREAMS, _STREAM_SAMPLES = 2, 160_000


@dataclass(frozen=True)
class Face:
    """How a graph is fed."""

    states: tuple[tuple[str, tuple[int, ...]], ...]
    """Name and shape of each; none: the graph takes a whole clip."""
    chunk_samples: int
    """Of a step; 1 where a clip is taken whole."""

    @classmethod
    def of(cls, inputs: tuple[Tensor, ...]) -> "Face":
        """Read it from an engine's inputs."""
        shapes = {tensor.name: tensor.shape for tensor in inputs}
        pcm = shapes.pop("pcm")
        states = tuple((name, tuple(map(int, shape))) for name, shape in shapes.items())
        return cls(states=states, chunk_samples=int(pcm[1]) if states else 1)

    def play(self, run: Run, pcm: NDArray[np.float32]) -> Iterator[tuple[Arrays, Arrays]]:
        """Every run of the graph over a clip, steps from initial states on.

        Args:
            run: of an engine.
            pcm: (batch, samples); for steps the batch is 1, and silence is put before a clip that
                is no whole number of chunks, so that the last answer is to all of it.

        Yields:
            what went in and what came out.
        """
        if not self.states:
            feeds = {"pcm": pcm}
            yield feeds, run(feeds)
            return
        states = {name: np.zeros(shape, dtype=np.float32) for name, shape in self.states}
        for chunk in whole_chunks(pcm, self.chunk_samples).reshape(-1, 1, self.chunk_samples):
            feeds = {"pcm": chunk, **states}
            outputs = run(feeds)
            yield feeds, outputs
            # An engine may write the next outputs over these.
            states = {name: np.array(outputs[f"{name}_next"]) for name in states}

    def answers(self, run: Run, pcm: NDArray[np.float32], output: str) -> NDArray[np.float32]:
        """One output of every run over a clip, one after the other: (answers, ...)."""
        return np.concatenate([np.array(outputs[output]) for _, outputs in self.play(run, pcm)])


def takes(faces: Iterable[tuple[Tensor, ...]], shape: tuple[int, ...]) -> bool:
    """Whether an engine with these faces runs over a recording of this shape.

    Args:
        faces: every choice of inputs that it takes.
        shape: (batch, samples); steps go over any number of samples, one recording at a time.
    """
    for inputs in faces:
        batch, samples = next(tensor.shape for tensor in inputs if tensor.name == "pcm")
        whole = len(inputs) == 1
        if (isinstance(batch, str) or batch == shape[0]) and (
            not whole or isinstance(samples, str) or samples == shape[1]
        ):
            return True
    return False


def whole_chunks(pcm: NDArray[np.float32], chunk_samples: int) -> NDArray[np.float32]:
    """(batch, samples) with silence before them, so that the end is a chunk's end."""
    return np.pad(pcm, ((0, 0), (-pcm.shape[1] % chunk_samples, 0)))


def spread(windows: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Numbers of at most `count` windows, evenly: a corpus is sorted by label."""
    return np.unique(np.linspace(0, len(windows) - 1, count).round().astype(np.int64))


def long_streams(windows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Windows one after the other, for 10 s: two recordings of different windows where it can."""
    count = -(-_STREAM_SAMPLES // windows.shape[1])
    some = spread(windows, _STREAMS * count)
    return [
        np.resize(windows[some[number::_STREAMS]].reshape(-1), _STREAM_SAMPLES)
        for number in range(min(_STREAMS, len(some)))
    ]
