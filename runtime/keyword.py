"""Turn the posteriors of successive windows into keyword events, one for each spoken word."""

import re
from dataclasses import dataclass

import numpy as np

from .manifest import Decision, Streaming, check_threshold

_ROUNDING = 1e-9
"""More than a mean of posteriors in float64 may lie above the largest of them."""


@dataclass(frozen=True)
class Event:
    """A keyword that was heard."""

    label: str
    start_s: float
    """Start of the stretch that all agreeing windows saw, in seconds of the stream."""
    end_s: float
    """End of that stretch."""
    score: float
    """Smoothed posterior when the event fired, in [its threshold, 1]."""


class KeywordDetector:
    """Smoothing, threshold, patience and refractory time over one stream's windows.

    An event fires when one keyword, `patience` windows in a row, has the largest smoothed
    posterior of all keywords that reach their thresholds. After it no keyword fires for
    `refractory_samples`, and the same one not before it has fallen under its threshold once:
    a word held through many windows is still one word.

    A keyword may lie within a longer one, from a word's beginning on: "computer" in "hey computer",
    "on" in "on the lights", "seven" in "seventeen". Where both reach their thresholds in one window
    the longer wins, and the refractory time after the longer holds for the shorter. Where the
    shorter was told first, the longer is told as well, within the refractory time too: waiting
    would make every "on" late, and dropping it would make "on the lights" unheard.

    Args:
        decision: the manifest's, made at export.
        labels: all labels in the posteriors' order.
        streaming: window and hop, to place an event in time; with states, the window is how far
            back the model judges.
        sample_rate: samples per second.
        threshold: of every keyword, in place of the decision's, in (0, 1].

    Raises:
        BundleFault: a threshold outside (0, 1].

    Source: smoothing as in Chen, Parada, Heigold, "Small-footprint keyword spotting using deep
    neural networks", ICASSP 2014, equation 2: at the start the mean is over the windows so far.
    The decision per keyword with patience and re-arming is ours: one event a word, not one
    confidence a frame.
    """

    def __init__(
        self,
        decision: Decision,
        labels: tuple[str, ...],
        streaming: Streaming,
        sample_rate: int,
        *,
        threshold: float | None = None,
    ) -> None:
        self._decision = decision
        self._streaming = streaming
        self._sample_rate = sample_rate
        self._labels = labels
        # In the labels' order, so that a tie has one answer whatever the decision's order.
        place = {label: index for index, label in enumerate(labels)}
        self._keywords = np.array(sorted(place[word] for word in decision.keywords))
        self._spoken = [as_words(labels[index]) for index in self._keywords]
        if threshold is not None:
            check_threshold(threshold)
        self._thresholds = np.array(
            [threshold or decision.threshold_of(labels[index]) for index in self._keywords]
        )
        self._lowest = float(self._thresholds.min()) - _ROUNDING
        self._of_keywords = self._keywords.tolist()
        self._recent = [[0.0] * len(labels)] * decision.smoothing_windows
        self.reset()

    def reset(self) -> None:
        """Forget all windows, as before the stream's first sample."""
        self._ready_at_samples = 0
        self._last = -1
        self._held: set[int] = set()
        self._begin(undecided_windows=0)

    @property
    def at_rest(self) -> bool:
        """Whether no keyword reached its threshold in the last window."""
        return self._candidate < 0

    def skip(self) -> None:
        """Windows are left out from here on; to be called at rest.

        The next event rests on windows after the gap alone, on as many as ever: the first
        `smoothing_windows` - 1 of them decide nothing. The refractory time runs on.
        """
        self._begin(undecided_windows=len(self._recent) - 1)

    def _begin(self, undecided_windows: int) -> None:
        self._undecided_windows = undecided_windows
        self._num_windows = 0
        self._low_windows = 0  # in a row, in which no keyword's posterior reaches a threshold
        self._candidate = -1
        self._agreeing_windows = 0

    def update(self, posteriors: np.ndarray, end_samples: int) -> list[Event]:
        """Take the next window and give the event that it completes, if it does.

        Args:
            posteriors: (num_labels,) of the window, in the labels' order.
            end_samples: samples of the stream up to the window's end.
        """
        # Few numbers, seldom high: lists cost a fraction of arrays, whose code is in no near cache
        # after the engine has run.
        row = posteriors.tolist()
        recent = self._recent  # a ring: the oldest row is written over
        recent[self._num_windows % len(recent)] = row
        self._num_windows += 1
        highest = max([row[place] for place in self._of_keywords])
        self._low_windows = self._low_windows + 1 if highest < self._lowest else 0
        if self._undecided_windows:
            self._undecided_windows -= 1
            return []
        so_far = min(self._num_windows, len(recent))
        if self._low_windows >= so_far:  # so is their mean, which need not be made
            self._rest()
            return []
        known = np.array(recent[:so_far])[:, self._keywords]
        smoothed = np.add.reduce(known, axis=0) / so_far  # (num_keywords,)
        reached = smoothed >= self._thresholds
        if not reached.any():
            self._rest()
            return []
        self._held = {index for index in self._held if reached[index]}
        top = self._strongest(smoothed, reached)
        self._agreeing_windows = self._agreeing_windows + 1 if top == self._candidate else 1
        self._candidate = top
        if (
            self._agreeing_windows < self._decision.patience
            or top in self._held
            or (end_samples < self._ready_at_samples and not self._holds(top, self._last))
        ):
            return []
        self._held.add(top)
        self._last = top
        self._ready_at_samples = end_samples + self._decision.refractory_samples
        return [self._event(top, end_samples, float(smoothed[top]))]

    def _rest(self) -> None:
        self._held.clear()
        self._candidate, self._agreeing_windows = -1, 0

    def _strongest(self, smoothed: np.ndarray, reached: np.ndarray) -> int:
        """The largest of those that reached, or the longest of them that it lies within."""
        # Posteriors are not negative, so that 0 never wins where one keyword reached.
        top = int(np.multiply(smoothed, reached).argmax())
        if np.count_nonzero(reached) == 1:
            return top
        longer = [index for index in map(int, np.flatnonzero(reached)) if self._holds(index, top)]
        return max(longer, key=lambda index: len(self._spoken[index]), default=top)

    def _holds(self, longer: int, shorter: int) -> bool:
        return holds(self._spoken[longer], self._spoken[shorter])

    def _event(self, keyword: int, end_samples: int, score: float) -> Event:
        """The stretch common to the last `patience` windows: last one's start, first one's end."""
        lag_samples = (self._decision.patience - 1) * self._streaming.hop_samples
        start_samples = max(0, end_samples - self._streaming.window_samples)
        return Event(
            label=self._labels[self._keywords[keyword]],
            start_s=start_samples / self._sample_rate,
            end_s=(end_samples - lag_samples) / self._sample_rate,
            score=min(score, 1.0),
        )


def as_words(label: str) -> str:
    """A label as words, each after a space, so that one is found in another where a word begins."""
    return "".join(f" {word}" for word in re.split(r"[\s_-]+", label.casefold()) if word)


def holds(longer: str, shorter: str) -> bool:
    """Whether one keyword lies within another, and is not all of it; both as `as_words`."""
    return len(longer) > len(shorter) and shorter in longer
