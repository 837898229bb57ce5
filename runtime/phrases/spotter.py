"""From a phone model's answers to keyword events: the phrases' scores, decided on as ever."""

import dataclasses

import numpy as np

from ..faults import BundleFault
from ..keyword import Event, KeywordDetector
from ..manifest import Manifest
from ..phone_stream import log_posteriors
from .scorer import PhraseScorer


class PhraseSpotter:
    """Events of a manifest's phrases over one stream's answers.

    Smoothing, threshold, patience and refractory time are those of `KeywordDetector`, whose windows
    are frames here. An event's stretch is that of the phrase's best path.

    Args:
        manifest: of phones, with phrases.
        threshold: of every phrase, in place of the manifest's, in (0, 1].

    Raises:
        BundleFault: a threshold outside (0, 1], or no phrases.
    """

    def __init__(self, manifest: Manifest, *, threshold: float | None = None) -> None:
        if manifest.phrases is None:
            raise BundleFault(f"{manifest.name!r} has no phrases to listen for")
        self._detector = KeywordDetector(
            manifest.phrases.decision,
            manifest.score_labels,
            manifest.streaming,
            manifest.sample_rate,
            threshold=threshold,
        )
        self._hop_samples = manifest.streaming.hop_samples
        self._frame_samples = manifest.frame_samples
        self._frame_s = self._frame_samples / manifest.sample_rate
        self._places = {word: number for number, word in enumerate(manifest.score_labels)}
        self._scorer = PhraseScorer(manifest.phrases.pronunciations, manifest.labels, self._frame_s)
        self._next_frame = 0

    def reset(self) -> None:
        """Forget all answers, as before the stream's first sample."""
        self._detector.reset()
        self._scorer.reset()
        self._next_frame = 0

    @property
    def at_rest(self) -> bool:
        """Whether no phrase reached its threshold in the last frame."""
        return self._detector.at_rest

    def skip(self) -> None:
        """Answers are left out from here on, as nothing is said in them; to be called at rest."""
        self._detector.skip()

    def update(self, answer: np.ndarray, end_samples: int) -> list[Event]:
        """Take the next answer and give the events that it completes.

        Args:
            answer: (frames, labels), posteriors.
            end_samples: samples of the stream up to its end.
        """
        frame = (end_samples - self._hop_samples) // self._frame_samples
        if frame > self._next_frame:
            self._scorer.skip(frame - self._next_frame)
        events = []
        for scores in self._scorer.push(log_posteriors(answer)):
            frame += 1
            for event in self._detector.update(scores, frame * self._frame_samples):
                start = self._scorer.start_frame(self._places[event.label])
                events.append(
                    dataclasses.replace(
                        event, start_s=start * self._frame_s, end_s=frame * self._frame_s
                    )
                )
        self._next_frame = frame
        return events
