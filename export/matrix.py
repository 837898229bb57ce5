"""The bundle as written, in every way that it can be run here, against the trained model.

A row for each graph's file, each engine that is installed, and each form and chunking. Formats and
engines come from the manifest and the runtime's backends, streams and their law from its forms:
another of these is another row, and nothing here changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime import RuntimeFault
from runtime.bundle import read_bundle
from runtime.forms import form_of
from runtime.manifest import Streaming, Tensor
from runtime.replay import ask, chunkings, difference, streamed
from runtime.stream import Model, start_all
from runtime.verified import OFFLINE, Cell
from runtime.verified import TOLERANCE as STREAM_TOLERANCE

from . import ExportError
from .clips import long_streams, spread, takes
from .exportable import Exportable
from .gate import Accepted, Evidence, odd_windows
from .quantize import Precision
from .verify import TOLERANCE, probe

_INT8_WINDOWS = 32
_MOST_WINDOWS, _MOST_HOPS = 2, 48
"""A recording lasts two windows, or 48 hops where these are shorter: each is run a few times."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Offline:
    """Recordings of one length to run without a stream, and how far answers may lie from torch."""

    recordings: tuple[NDArray[np.float32], ...]
    """Each (batch, samples)."""
    tolerance: float
    """Of a posterior."""
    snr_db: float | None = None
    """What the gate found over them and their like."""


def float32_cases(exported: Exportable) -> tuple[Offline, ...]:
    """Signals of odd lengths, or steps over a few and over many chunks."""
    return tuple(
        Offline(recordings=(recording,), tolerance=TOLERANCE)
        for recording in exported.recordings(seed=2)
    )


def int8_cases(
    accepted: Accepted,
    evidence: Evidence,
    exported: Exportable,
    faces: Sequence[tuple[Tensor, ...]],
) -> tuple[Offline, ...]:
    """Real audio that the gate has judged, one by one: a batch would share a dynamic range.

    Of the lengths that an engine with these faces takes, as the gate chose them. A posterior may
    lie as far from torch's as the gate found over all of it, and a step in 8 bits more: the gate
    reads the logits too, and an engine may fuse the two graphs otherwise.
    """
    comparison = accepted.comparison
    windows = evidence.windows
    some = windows[spread(windows, _INT8_WINDOWS)]
    whole = Offline(
        recordings=tuple(map(exported.fitting, some)),
        tolerance=comparison.largest_difference + accepted.tolerance,
        snr_db=comparison.snr_db,
    )
    by_length: dict[int, list[NDArray[np.float32]]] = {}
    for window in odd_windows(windows, faces):
        recording = exported.fitting(window)
        by_length.setdefault(recording.shape[1], []).append(recording)
    odd_difference = comparison.odd_lengths_largest_difference or 0.0
    cases = [
        Offline(
            recordings=tuple(recordings),
            tolerance=odd_difference + accepted.tolerance,
            snr_db=comparison.odd_lengths_snr_db,
        )
        for length, recordings in by_length.items()
        if length != whole.recordings[0].shape[1]
    ]
    if comparison.streams_largest_difference is not None:
        streams = Offline(
            recordings=tuple(map(exported.fitting, long_streams(windows))),
            tolerance=comparison.streams_largest_difference + accepted.tolerance,
            snr_db=comparison.streams_snr_db,
        )
        cases.append(streams)
    return (whole, *cases)


def verify_bundle(
    folder: Path,
    exported: Exportable,
    *,
    precision: Precision,
    offline: Mapping[str, tuple[Offline, ...]],
) -> tuple[Cell, ...]:
    """Run a written bundle in every way, and hold each to the trained model.

    A float32 stream is held to torch's answers; in 8 bits to the same graph's own without a stream,
    which `offline` holds to torch.

    Args:
        folder: of a whole bundle.
        exported: what it was written from.
        precision: how its weights are stored.
        offline: recordings to run without a stream, by the graph's file; those of shapes that an
            engine does not take are left out for it.

    Returns:
        a row for each way.

    Raises:
        ExportError: answers of one differ; the message names it.
        BundleFault: the bundle cannot be loaded.
    """
    cells: list[Cell] = []
    expected = {
        file: [[exported.answers(pcm) for pcm in case.recordings] for case in cases]
        for file, cases in offline.items()
    }
    for file, model in start_all(read_bundle(folder)):
        streaming = model.manifest.streaming
        recording = probe(_num_samples(streaming), batch=1, seed=3)[0]
        form = form_of(streaming)
        start = Cell(
            file=file,
            engine=model.engine.version,
            precision=precision.value,
            form=OFFLINE,
            chunk_samples="",
            against="torch",
            largest_difference=0.0,
            tolerance=TOLERANCE,
        )
        for case, answers in zip(offline[file], expected[file], strict=True):
            if all(takes(model.engine.faces, pcm.shape) for pcm in case.recordings):
                cells.append(_checked(_offline_cell(start, model, case, answers)))
        if precision is Precision.FLOAT32:
            wanted = form.offline(exported.answers, recording, streaming)
        else:
            wanted = form.offline(partial(ask, model), recording, streaming)
            start = replace(start, against=OFFLINE, tolerance=STREAM_TOLERANCE)
        for cell in _stream_cells(replace(start, form=streaming.form), model, recording, wanted):
            cells.append(_checked(cell))
    return tuple(cells)


def _offline_cell(
    cell: Cell, model: Model, case: Offline, expected: list[NDArray[np.float32]]
) -> Cell:
    cell = replace(
        cell,
        chunk_samples=str(case.recordings[0].shape[1]),
        tolerance=case.tolerance,
        snr_db=case.snr_db,
    )
    try:
        answers = [ask(model, pcm) for pcm in case.recordings]
    except RuntimeFault as fault:
        raise ExportError(f"{cell.place}: {fault} Nothing was written.") from fault
    return replace(cell, largest_difference=max(map(difference, answers, expected)))


def _stream_cells(
    cell: Cell, model: Model, recording: NDArray[np.float32], expected: NDArray[np.float32]
) -> Iterator[Cell]:
    hop_samples = model.manifest.streaming.hop_samples
    for name, blocks in chunkings(len(recording), hop_samples).items():
        cell = replace(cell, chunk_samples=name)
        try:
            answers = streamed(model, recording, blocks)
        except RuntimeFault as fault:
            raise ExportError(f"{cell.place}: {fault} Nothing was written.") from fault
        yield replace(cell, largest_difference=difference(answers, expected))


def _checked(cell: Cell) -> Cell:
    if not cell.passed:
        against = "the trained model's" if cell.against == "torch" else "the same graph's offline"
        raise ExportError(
            f"{cell.place}: its answers differ from {against} by {cell.largest_difference:.2g}; "
            f"at most {cell.tolerance:.1g} is allowed. Nothing was written."
        )
    return cell


def _num_samples(streaming: Streaming) -> int:
    """A hop at least, and half a hop that no answer has seen."""
    hop_samples = streaming.hop_samples
    longest = min(_MOST_WINDOWS * streaming.window_samples, _MOST_HOPS * hop_samples)
    return longest + hop_samples // 2
