"""What a model says over time, before any threshold: the one pass over the audio."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.forms import form_of
from runtime.manifest import Manifest
from runtime.phone_stream import log_posteriors
from runtime.phrases.scorer import PhraseScorer
from runtime.stream import Model, tail_samples
from runtime.waveform import as_waveform


@dataclass(frozen=True, eq=False)
class Trace:
    """Smoothed posteriors of one stream, or scores of its phrases, from its first sample to the end
    of its flush."""

    keywords: tuple[str, ...]
    """What the scores' columns mean."""
    end_samples: NDArray[np.int64]
    """(answers,): samples of the stream when each was given; silence of the flush counts on. Of
    phrases every frame is one, though a device tells it at its hop's end."""
    scores: NDArray[np.float64]
    """(answers, keywords): what the runtime's detector compares with thresholds; of each
    keyword."""
    num_samples: int
    """Received by the stream, its flush left out."""


def keywords_of(manifest: Manifest) -> tuple[str, ...]:
    """The bundle's keywords in the order of its scores, which is the one of a trace's columns."""
    keywords = manifest.keyword_decision.keywords
    return tuple(label for label in manifest.score_labels if label in keywords)


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
    manifest = model.manifest
    hop_samples, decision = manifest.streaming.hop_samples, manifest.keyword_decision
    silence = np.zeros(tail_samples(manifest), dtype=np.float32)
    heard = np.concatenate([as_waveform(waveform), silence]) if len(waveform) else silence[:0]
    num_hops = len(heard) // hop_samples
    memory = form_of(manifest.streaming).start(model)
    answers = (
        memory.answer(hop) for hop in heard[: num_hops * hop_samples].reshape(-1, hop_samples)
    )
    scores = _posteriors(model, answers) if manifest.phrases is None else _scores(model, answers)
    keywords = keywords_of(manifest)
    answered = np.array([*scores]).reshape(-1, len(keywords))
    step_samples = manifest.frame_samples
    return Trace(
        keywords=keywords,
        end_samples=np.arange(1, len(answered) + 1, dtype=np.int64) * step_samples,
        scores=_smoothed(answered, decision.smoothing_windows),
        num_samples=len(waveform),
    )


def _posteriors(model: Model, answers: Iterable[NDArray]) -> Iterator[NDArray]:
    columns = [model.labels.index(word) for word in keywords_of(model.manifest)]
    return (answer[columns].astype(np.float64) for answer in answers)


def _scores(model: Model, answers: Iterable[NDArray]) -> Iterator[NDArray]:
    manifest = model.manifest
    assert manifest.phrases is not None
    scorer = PhraseScorer(
        manifest.phrases.pronunciations,
        manifest.labels,
        manifest.frame_samples / manifest.sample_rate,
    )
    return (scores for answer in answers for scores in scorer.push(log_posteriors(answer)))


def _smoothed(posteriors: NDArray[np.float64], num_windows: int) -> NDArray[np.float64]:
    """Means over the last windows, summed in the order of the detector's ring, to the last bit."""
    smoothed = np.empty_like(posteriors)
    recent = np.zeros((num_windows, posteriors.shape[1]))
    for number, row in enumerate(posteriors):
        recent[number % num_windows] = row
        so_far = min(number + 1, num_windows)
        smoothed[number] = np.add.reduce(recent[:so_far], axis=0) / so_far
    return smoothed
