"""Is the exported graph the trained model? Asked on lengths nobody rounds to."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from runtime.backends.onnx import Engine
from runtime.stream import Engine as RuntimeEngine

from . import ExportError
from .clips import Face, takes
from .targets import Target

TOLERANCE = 1e-5
"""Largest difference of a posterior: float32 kernels may sum in another order."""
FEATURES_TOLERANCE = 1e-4
"""Of a feature, over the largest one: no softmax shrinks what a dozen layers of such sums leave."""


def odd_lengths(window_samples: int) -> tuple[int, ...]:
    """Lengths around the window and far from it, in samples."""
    return (
        window_samples,
        window_samples - 1,
        window_samples + 1,
        window_samples // 2 + 7,
        window_samples * 3 // 2 + 13,
        window_samples * 2 - 319,
    )


def probe(num_samples: int, *, batch: int, seed: int) -> NDArray[np.float32]:
    """A signal with silence, tones and noise in it: float32 (batch, num_samples) in [-1, 1]."""
    rng = np.random.default_rng([seed, num_samples])
    time = np.arange(num_samples) / 16_000
    tone = np.sin(2 * np.pi * rng.uniform(100, 3000, (batch, 1)) * time)
    envelope = np.clip(np.sin(2 * np.pi * rng.uniform(1, 4, (batch, 1)) * time), 0, 1)
    noise = rng.normal(0, 0.02, (batch, num_samples))
    signal: NDArray[np.float32] = np.clip(0.4 * tone * envelope + noise, -1, 1).astype(np.float32)
    return signal


def largest_difference(
    module: nn.Module,
    graph: bytes,
    lengths: Iterable[int],
    *,
    output: str = "posteriors",
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> float:
    """`parity` of a graph of windows over the lengths, alone and in twos.

    Args:
        module: `pcm` to `output`.
        graph: what it was exported as.
        lengths: of the waveforms to try, in samples.
        output: the answer's name.
        tolerance: the largest difference allowed.
        seed: of the waveforms.

    Raises:
        ExportError: as `parity`.
    """

    def answers(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            expected: NDArray[np.float32] = module(torch.from_numpy(pcm)).numpy()
        return expected

    recordings = (
        probe(length, batch=1 + number % 2, seed=seed) for number, length in enumerate(lengths)
    )
    return parity(answers, graph, recordings, output=output, tolerance=tolerance)


def parity(
    answers: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    graph: bytes,
    recordings: Iterable[NDArray[np.float32]],
    *,
    output: str = "posteriors",
    tolerance: float = TOLERANCE,
    start: Callable[[bytes], RuntimeEngine] | None = None,
) -> float:
    """Largest |exported - torch| over recordings.

    Where torch's answers exceed 1, which posteriors cannot, differences are divided by the largest.

    Args:
        answers: torch's to a recording, in the order of the graph's runs.
        graph: of windows or of steps.
        recordings: (batch, samples) each; of steps one at a time, in whole chunks.
        output: the answer's name.
        tolerance: the largest difference allowed.
        start: of the engine that runs the graph; None: ONNX Runtime's. Recordings of shapes that
            its graph does not take are left out.

    Raises:
        ExportError: it exceeds the tolerance; the message names the recording's length.
    """
    engine = (start or Engine)(graph)
    face = Face.of(engine.inputs)
    worst = 0.0
    for pcm in recordings:
        if not takes(engine.faces, pcm.shape):
            continue
        expected = answers(pcm)
        difference = float(np.abs(face.answers(engine.run, pcm, output) - expected).max())
        difference /= max(1.0, float(np.abs(expected).max()))
        if not difference <= tolerance:
            raise ExportError(
                f"the exported graph differs from the trained model by {difference:.2g} on "
                f"{pcm.shape[1]} samples; at most {tolerance:.0e} is allowed. Nothing was written."
            )
        worst = max(worst, difference)
    return worst


def kernel_difference(graph: bytes, windows: NDArray[np.float32], target: Target) -> float:
    """Largest difference of a posterior between two ways of this machine to run one graph.

    An engine's integer kernels, and the same graph operator by operator without them. In 8 bits
    a float that lies near the middle of two steps goes to either by its last bit, and other
    processors have other last bits; so this is what another machine may show.

    Args:
        graph: of windows or of steps; each way then goes on from its own states.
        windows: float32 (windows, samples) in [-1, 1].
        target: of the graph's format.
    """
    engine, run_plain = target.Engine(graph), target.plain(graph)
    face = Face.of(engine.inputs)
    worst = 0.0
    for window in windows:
        ways = (face.answers(run, window[None], "posteriors") for run in (engine.run, run_plain))
        worst = max(worst, float(np.abs(np.subtract(*ways)).max()))
    return worst
