"""Step modules: what an incremental export asks of one, and if its stream is what was trained.

`train` makes such modules and `export` takes them by what they offer, so that neither imports the
other.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from runtime.manifest import State, Streaming

from . import ExportError
from .clips import whole_chunks
from .exportable import Exportable, Windows, folded
from .huggingface import CheckpointWindows, Classifier
from .targets import Target
from .verify import TOLERANCE, probe

INCREMENTAL = "incremental"
"""The streaming form whose graph is a step."""
_STATE_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_TAKEN = ("pcm", "posteriors")
_NEXT = "_next"
_MOST_CHUNKS = 256
"""Of a recording that a stream is compared on: two windows of 1 s at 10 ms."""


class StepModule(Protocol):
    """A causal classifier, one chunk at a time; an nn.Module that wraps the trained model.

    What it answers to a chunk is one row of posteriors, (labels,), or one for each of the chunk's
    frames, (frames, labels): its answer's shape.
    """

    chunk_samples: int
    """Samples of a step."""
    window_samples: int
    """Samples before an answer that it judges, roughly."""
    states: tuple[State, ...]
    """What a step hands to the next."""

    def __call__(self, pcm: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """One step.

        Args:
            pcm: (1, chunk_samples).
            states: in the order of `states`.

        Returns:
            posteriors (1, *answer's shape), and the next states in the same order.
        """

    def answers(self, waveform: Tensor) -> Tensor:
        """The form that was trained, over a whole recording.

        Args:
            waveform: (batch, samples).

        Returns:
            posteriors (batch, samples // chunk_samples, *answer's shape), each to its chunk.
        """


@dataclass(frozen=True, eq=False)
class Step:
    """A step module that was checked, ready to be written."""

    module: nn.Module
    """In eval mode, with plain tensors for weights."""
    chunk_samples: int
    window_samples: int
    states: tuple[State, ...]

    def write(self, target: Target, path: Path) -> None:
        """One step, its states explicit."""
        target.write_step(self.module, path)

    def answers(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """The trained form's to a recording (1, samples): (answers, *answer's shape)."""
        answers: NDArray[np.float32] = self.trained(pcm)[0]
        return answers

    def trained(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whole recordings (batch, samples) to (batch, answers, *answer's shape)."""
        with torch.inference_mode():
            answers: NDArray[np.float32] = _step(self.module).answers(torch.from_numpy(pcm)).numpy()
        return answers

    def streamed(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Step by step from the initial states: (1, samples) to as many answers."""
        states = [torch.full(state.shape, state.initial) for state in self.states]
        rows = []
        with torch.inference_mode():
            for start in range(0, pcm.shape[1] - self.chunk_samples + 1, self.chunk_samples):
                chunk = torch.from_numpy(pcm[:, start : start + self.chunk_samples])
                posteriors, *states = self.module(chunk, *states)
                rows.append(posteriors)
        return torch.cat(rows).numpy()

    def recordings(self, seed: int) -> tuple[NDArray[np.float32], ...]:
        """A chunk, a few, two windows and more, and the same after silence."""
        num_chunks = min(2 * self.window_samples // self.chunk_samples + 3, _MOST_CHUNKS)
        first, few, long = (
            probe(chunks * self.chunk_samples, batch=1, seed=seed) for chunks in (1, 3, num_chunks)
        )
        after_silence = long.copy()
        after_silence[:, : long.shape[1] // 3] = 0.0
        return first, few, long, after_silence

    def fitting(self, clip: NDArray[np.float32]) -> NDArray[np.float32]:
        """In whole chunks, silence before it where there has to be some."""
        return whole_chunks(clip[None], self.chunk_samples)

    def golden(self) -> NDArray[np.float32]:
        """A window and two chunks."""
        num_chunks = min(self.window_samples // self.chunk_samples + 2, _MOST_CHUNKS)
        return probe(num_chunks * self.chunk_samples, batch=1, seed=1)


def exportable(
    classifier: nn.Module,
    streaming: Streaming,
    num_labels: int,
    lengths: Collection[int] = (),
) -> Exportable:
    """A classifier in the form that a manifest will state.

    Args:
        classifier: incremental: a `StepModule`; otherwise (batch, samples) at 16 kHz in [-1, 1] to
            logits (batch, labels), such as transformers'. It is left as it is.
        streaming: form, window and hop.
        num_labels: of the posteriors.
        lengths: more samples that a graph of windows must take at once.

    Raises:
        ExportError: as `checked`, the step's chunk and window are not the stream's, or a length
            that is none.
    """
    if any(length < 1 for length in lengths):
        raise ExportError(f"lengths must be 1 sample or more, got {sorted(lengths)}")
    if streaming.form != INCREMENTAL:
        if isinstance(classifier, Classifier):
            return CheckpointWindows(classifier, streaming.window_samples, lengths)
        return Windows(classifier, streaming.window_samples, lengths)
    if lengths:
        raise ExportError(
            "a graph of steps takes one chunk at a time and no other lengths; leave them out, or "
            "export the sliding_window form"
        )
    return step_of(classifier, streaming, (num_labels,))


def step_of(module: nn.Module, streaming: Streaming, answer_shape: tuple[int, ...]) -> Step:
    """A step module in the form that a manifest will state, as `exportable`.

    Args:
        module: a `StepModule`; it is left as it is.
        streaming: of steps.
        answer_shape: what it answers to a chunk.

    Raises:
        ExportError: as `checked`, or the step's chunk and window are not the stream's.
    """
    step = checked(module, answer_shape)
    wanted = (streaming.hop_samples, streaming.window_samples)
    if (step.chunk_samples, step.window_samples) != wanted:
        raise ExportError(
            f"the step module's chunk_samples {step.chunk_samples} and window_samples "
            f"{step.window_samples} must be the stream's hop_samples {wanted[0]} and "
            f"window_samples {wanted[1]}"
        )
    return step


def checked(module: nn.Module, answer_shape: tuple[int, ...]) -> Step:
    """Take a step module for export.

    Args:
        module: a `StepModule`; it is left as it is.
        answer_shape: of its posteriors, (labels,) or (frames, labels).

    Raises:
        ExportError: it offers something else than a `StepModule` does, or its stream differs from
            its trained form by more than float32 sums in another order do.
    """
    step = _ready(module)
    _check_states(step.states)
    _check_shapes(step, answer_shape)
    for pcm in step.recordings(seed=0):
        _check_stream(step, pcm)
    return step


def _step(module: nn.Module) -> StepModule:
    return cast(StepModule, module)


def _ready(module: nn.Module) -> Step:
    lacking = [
        name
        for name in ("chunk_samples", "window_samples", "states", "answers")
        if not hasattr(module, name)
    ]
    if lacking:
        raise ExportError(
            f"{type(module).__name__} has no {', '.join(lacking)} and is no step module; only "
            "causal models have one. Export the sliding_window form instead."
        )
    given: Any = _step(module)
    chunk_samples, window_samples = given.chunk_samples, given.window_samples
    if not 1 <= chunk_samples <= window_samples:
        raise ExportError(
            f"chunk_samples must lie in [1, {window_samples}], the window_samples that an answer "
            f"judges, got {chunk_samples}"
        )
    return Step(folded(module), chunk_samples, window_samples, tuple(given.states))


def _check_states(states: Sequence[State]) -> None:
    names = [state.name for state in states]
    taken = [*_TAKEN, *(f"{name}{_NEXT}" for name in names)]
    for state in states:
        place = f"state {state.name!r}"
        if not _STATE_NAME.fullmatch(state.name) or state.name in taken:
            raise ExportError(
                f"{place}: its name must be 1 to 100 of a-z, 0-9 and _, begin with a letter, and "
                f"be none of the graph's other names, {', '.join(_TAKEN)} and names with {_NEXT}"
            )
        if names.count(state.name) > 1:
            raise ExportError(f"{place}: states must differ in their names")
        if state.shape[:1] != (1,) or min(state.shape) < 1:
            raise ExportError(f"{place}: its shape must be (1, ...) without 0, got {state.shape}")
        if state.dtype != "float32" or state.initial != 0.0:
            raise ExportError(
                f"{place}: it must be float32 and begin as 0.0, got {state.dtype} from "
                f"{state.initial}"
            )
    if not states:
        raise ExportError(
            "a step module without states hears each chunk alone; export the sliding_window form"
        )


def _check_shapes(step: Step, answer_shape: tuple[int, ...]) -> None:
    """Of one step, and of the trained form."""
    pcm = probe(step.chunk_samples, batch=1, seed=0)
    states = [torch.full(state.shape, state.initial) for state in step.states]
    with torch.inference_mode():
        outputs = step.module(torch.from_numpy(pcm), *states)
    wanted = {
        "posteriors": (1, *answer_shape),
        **{f"{state.name}{_NEXT}": state.shape for state in step.states},
    }
    if not isinstance(outputs, tuple) or len(outputs) != len(wanted):
        raise ExportError(
            f"a step must give a tuple of {len(wanted)} tensors, {', '.join(wanted)}; got "
            f"{len(outputs) if isinstance(outputs, tuple) else type(outputs).__name__}"
        )
    for (name, shape), output in zip(wanted.items(), outputs, strict=True):
        if tuple(output.shape) != shape or output.dtype != torch.float32:
            raise ExportError(
                f"a step must give {name} as float32 {shape}, got {output.dtype} "
                f"{tuple(output.shape)}"
            )
    for chunks in (1, 3):
        pcm = probe(chunks * step.chunk_samples + step.chunk_samples // 2, batch=2, seed=0)
        answers = step.trained(pcm)
        expected = (2, chunks, *answer_shape)
        if answers.shape != expected:
            raise ExportError(
                f"answers must give {expected} posteriors to {pcm.shape} samples, got "
                f"{answers.shape}"
            )


def _check_stream(step: Step, pcm: NDArray[np.float32]) -> None:
    """Raises ExportError where steps answer otherwise than the trained form."""
    streamed, trained = step.streamed(pcm), step.answers(pcm)
    gaps = np.abs(streamed - trained).reshape(len(trained), -1).max(axis=1)
    wrong = np.flatnonzero(~(gaps <= TOLERANCE))  # NaN is wrong too
    if len(wrong):
        first = int(wrong[0])
        raise ExportError(
            f"the stream would differ from the trained form by {gaps[wrong].max():.2g}, at most "
            f"{TOLERANCE:.0e} is allowed; of {len(gaps)} answers number {first}, at sample "
            f"{(first + 1) * step.chunk_samples}, is the first. Either a layer looks ahead or a "
            "state is missing: train the model causal, or export the sliding_window form. "
            "Nothing was written."
        )
