"""Run a model as a stream, keep its answers, and hold them against what they must be."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .bundle import Golden
from .faults import BundleFault, one_line
from .forms import form_of
from .stream import Engine, Model
from .verified import OFFLINE, TOLERANCE, Cell

_MAX_ANSWERS = 24
"""Most answers of a replay: a bundle's hop may be one sample, and its window seconds."""


def chunkings(num_samples: int, hop_samples: int) -> dict[str, tuple[int, ...]]:
    """Ways to cut a recording into blocks that meet hops and miss them.

    Args:
        num_samples: of the recording, 1 or more.
        hop_samples: of the stream.

    Returns:
        block lengths that sum to `num_samples`, by what `Cell.chunk_samples` calls them: all at
        once, a hop, one sample off a hop, a few samples, and a mixture with empty blocks in it.
    """
    off_hop = hop_samples - 1 or 2
    few = hop_samples // 1000 | 7  # odd; longer hops need not be pushed in millions of blocks
    sizes = dict.fromkeys((num_samples, hop_samples, off_hop, few))
    ways = {
        str(size): (size,) * (num_samples // size) + (num_samples % size,)
        for size in sizes
        if size <= num_samples
    }
    rng = np.random.default_rng([num_samples, hop_samples])
    most = 2 * hop_samples + 1
    mixture: list[int] = []
    left = num_samples
    while left:
        mixture.append(min(left, int(rng.integers(0, most + 1))))
        left -= mixture[-1]
    return {**ways, f"0 to {most}": tuple(mixture)}


def streamed(model: Model, waveform: np.ndarray, blocks: Sequence[int]) -> np.ndarray:
    """Every answer that a new stream's model gives, before any decision.

    Args:
        model: as `load` gives it.
        waveform: float32 (samples,).
        blocks: lengths to push one after the other; what they leave is not pushed.

    Returns:
        (answers, *answer_shape).

    Raises:
        AudioFault: samples that a stream refuses.
        BundleFault: the model fails.
    """
    recorder = _Recorder(model)
    stream = dataclasses.replace(model, engine=recorder).stream(gate=False)
    start = 0
    for num_samples in blocks:
        stream.push(waveform[start : start + num_samples])
        start += num_samples
    none = np.zeros((0, *model.manifest.answer_shape), dtype=np.float32)
    return np.concatenate([none, *recorder.answers])


def ask(model: Model, pcm: np.ndarray) -> np.ndarray:
    """What the graph answers to recordings without a stream; NaN is let through.

    Args:
        model: as `load` gives it.
        pcm: float32 (batch, samples); for a model with states one recording of whole hops.

    Returns:
        (batch, num_labels), or with states an answer for each hop, (answers, *answer_shape).

    Raises:
        BundleFault: the graph refuses the shape or fails.
    """
    return form_of(model.manifest.streaming).ask(model, pcm)


def difference(answers: np.ndarray, expected: np.ndarray) -> float:
    """The largest; infinite where shapes differ or an answer is no number."""
    if answers.shape != expected.shape:
        return float("inf")
    gaps = np.abs(answers.astype(np.float64) - expected)
    # A NaN compares as no difference at all, and is the worst of them.
    return float(np.max(np.where(np.isnan(gaps), np.inf, gaps), initial=0.0))


def replay(file: str, model: Model, golden: Golden) -> Iterator[Cell]:
    """The golden pair offline, then as a stream in every chunking where it holds a hop.

    Streams are held to this machine's own offline answers, and where their answers are the model's
    to the golden input too, to the golden as well. A model that already fails offline is not
    streamed.

    Args:
        file: the graph's name.
        model: started from it.
        golden: the bundle's for this graph; its first recording is streamed, for 24 hops at most.

    Raises:
        AudioFault: a golden input that no stream takes.
        BundleFault: the model fails, or answers in another shape than the golden's.
    """
    streaming = model.manifest.streaming
    answers = ask(model, golden.pcm)
    if answers.shape != golden.posteriors.shape:
        raise BundleFault(
            f"the model answers {answers.shape} to the golden input, and the golden output is "
            f"{golden.posteriors.shape}. Export again."
        )
    num_samples = golden.pcm.shape[1]
    cell = Cell(
        file=file,
        engine=model.engine.version,
        precision=one_line(model.manifest.measured.get("precision", "not stated"), 40),
        form=OFFLINE,
        chunk_samples=str(num_samples),
        against="golden",
        largest_difference=difference(answers, golden.posteriors),
        tolerance=golden.tolerance,
    )
    yield cell
    waveform = golden.pcm[0, : _MAX_ANSWERS * streaming.hop_samples]
    if not cell.passed or len(waveform) < streaming.hop_samples:
        return
    form = form_of(streaming)
    offline = form.offline(functools.partial(ask, model), waveform, streaming)
    shared = form.in_stream(num_samples, streaming)
    shared = range(shared.start, min(shared.stop, len(offline)))  # the stream may end before
    stored = golden.posteriors[: len(shared)]
    for name, blocks in chunkings(len(waveform), streaming.hop_samples).items():
        heard = streamed(model, waveform, blocks)
        cell = dataclasses.replace(cell, form=streaming.form, chunk_samples=name)
        yield dataclasses.replace(
            cell,
            against=OFFLINE,
            largest_difference=difference(heard, offline),
            tolerance=TOLERANCE,
        )
        if shared:
            found = heard[shared.start : shared.stop]  # fewer where the stream gave too few
            yield dataclasses.replace(cell, largest_difference=difference(found, stored))


class _Recorder:
    """An engine that keeps what it answered; a stream cannot tell it from its own."""

    def __init__(self, model: Model) -> None:
        self._engine: Engine = model.engine
        self._output = model.manifest.outputs[0].name
        self.inputs = model.engine.inputs
        self.faces = model.engine.faces
        self.outputs = model.engine.outputs
        self.version = model.engine.version
        self.answers: list[np.ndarray] = []

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = self._engine.run(feeds)
        self.answers.append(np.array(values[self._output]))  # engines may write over their buffers
        return values
