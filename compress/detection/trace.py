"""What a model says over time, before any threshold: the one pass over the audio."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.forms import form_of
from runtime.manifest import Manifest
from runtime.stream import Model
from runtime.waveform import as_waveform


@dataclass(frozen=True, eq=False)
class Trace:
    """Smoothed posteriors of one stream, from its first sample to the end of its flush."""

    keywords: tuple[str, ...]
    """What the scores' columns mean."""
    end_samples: NDArray[np.int64]
    """(answers,): samples of the stream when each was given; silence of the flush counts on."""
    scores: NDArray[np.float64]
    """(answers, keywords): what the runtime's detector compares with thresholds; of each
    keyword."""
    num_samples: int
    """Received by the stream, its flush left out."""


def keywords_of(manifest: Manifest) -> tuple[str, ...]:
    """The bundle's keywords in its labels' order, which is the one of a trace's columns."""
    return tuple(label for label in manifest.labels if label in manifest.keyword_decision.keywords)


def trace(model: Model, waveform: NDArray[np.float32]) -> Trace:
    """Run a stream over a recording and flush it, without deciding anything.

    The model answers every hop: the gate of a stream leaves out what holds no speech, and how long
    it stays open depends on thresholds.

    Args:
        model: as `runtime.load` gives it; no other thread may run it meanwhile.
        waveform: float32 (samples,) at the model's rate.

    Raises:
        AudioFault: samples that a stream refuses.
        BundleFault: the model fails.
    """
    streaming, decision = model.manifest.streaming, model.manifest.keyword_decision
    hop_samples = streaming.hop_samples
    silence = np.zeros(streaming.window_samples - 1, dtype=np.float32)
    heard = np.concatenate([as_waveform(waveform), silence]) if len(waveform) else silence[:0]
    num_answers = len(heard) // hop_samples
    keywords = keywords_of(model.manifest)
    columns = [model.labels.index(word) for word in keywords]
    posteriors = np.empty((num_answers, len(columns)))
    memory = form_of(streaming).start(model)
    for number in range(num_answers):
        hop = heard[number * hop_samples : (number + 1) * hop_samples]
        posteriors[number] = memory.answer(hop)[columns]
    return Trace(
        keywords=keywords,
        end_samples=np.arange(1, num_answers + 1, dtype=np.int64) * hop_samples,
        scores=_smoothed(posteriors, decision.smoothing_windows),
        num_samples=len(waveform),
    )


def _smoothed(posteriors: NDArray[np.float64], num_windows: int) -> NDArray[np.float64]:
    """Means over the last windows, summed in the order of the detector's ring, to the last bit."""
    smoothed = np.empty_like(posteriors)
    recent = np.zeros((num_windows, posteriors.shape[1]))
    for number, row in enumerate(posteriors):
        recent[number % num_windows] = row
        so_far = min(number + 1, num_windows)
        smoothed[number] = np.add.reduce(recent[:so_far], axis=0) / so_far
    return smoothed
