"""Posteriors to events: one event a spoken word."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.bundle import Decision, Streaming
from runtime.faults import BundleFault
from runtime.keyword import Event, KeywordDetector

LABELS = ("_silence_", "yes", "no")
SILENCE, YES, NO = (0.9, 0.05, 0.05), (0.1, 0.8, 0.1), (0.1, 0.2, 0.7)
HOP_SAMPLES = 100


def _detect(
    windows: list[tuple[float, ...]],
    *,
    threshold: float | None = None,
    thresholds: Mapping[str, float] | None = None,
    smoothing_windows: int = 1,
    patience: int = 1,
    refractory_samples: int = 0,
) -> list[Event]:
    decision = Decision(
        keywords=("no", "yes"),
        threshold=0.6,
        thresholds=thresholds or {},
        smoothing_windows=smoothing_windows,
        patience=patience,
        refractory_samples=refractory_samples,
    )
    streaming = Streaming(window_samples=400, hop_samples=HOP_SAMPLES)
    detector = KeywordDetector(decision, LABELS, streaming, 1000, threshold=threshold)
    found = [
        detector.update(np.array(posteriors), (index + 1) * HOP_SAMPLES)
        for index, posteriors in enumerate(windows)
    ]
    return [event for event in found if event is not None]


def test_a_word_held_through_many_windows_is_one_event() -> None:
    assert _detect([SILENCE] * 5 + [YES] * 20 + [SILENCE]) == [Event("yes", 0.2, 0.6, 0.8)]


def test_a_word_spoken_twice_is_two_events() -> None:
    events = _detect([SILENCE, YES, SILENCE, YES])
    assert [event.label for event in events] == ["yes", "yes"]
    assert [event.end_s for event in events] == [0.2, 0.4]


def test_the_start_is_never_before_the_stream() -> None:
    assert _detect([YES]) == [Event("yes", 0.0, 0.1, 0.8)]


def test_one_word_may_follow_another_at_once() -> None:
    assert [event.label for event in _detect([YES, NO])] == ["yes", "no"]


def test_patience_wants_windows_of_one_keyword_in_a_row() -> None:
    assert _detect([YES, YES, NO, YES, YES, SILENCE, NO], patience=3) == []
    # The stretch is common to the three windows that end at 0.3, 0.4 and 0.5 s.
    windows = [SILENCE, SILENCE, YES, YES, YES]
    assert _detect(windows, patience=3) == [Event("yes", 0.1, 0.3, 0.8)]


def test_smoothing_is_the_mean_of_the_last_windows() -> None:
    windows = [SILENCE, SILENCE, YES, YES, YES]
    # Means of yes over three windows: 0.05, 0.05, 0.3, 0.55, 0.8.
    (event,) = _detect(windows, smoothing_windows=3)
    assert (event.end_s, event.score) == (0.5, pytest.approx(0.8))
    (early,) = _detect(windows, smoothing_windows=3, threshold=0.5)
    assert (early.end_s, early.score) == (0.4, pytest.approx(0.55))


def test_within_the_refractory_time_no_keyword_fires() -> None:
    windows = [YES, SILENCE, NO, SILENCE, SILENCE, NO]
    events = _detect(windows, refractory_samples=500)
    assert [(event.label, event.end_s) for event in events] == [("yes", 0.1), ("no", 0.6)]


def test_a_word_that_outlasts_the_refractory_time_is_still_one() -> None:
    assert len(_detect([YES] * 30, refractory_samples=300)) == 1


def test_the_threshold_itself_is_enough() -> None:
    assert len(_detect([(0.4, 0.6, 0.0)])) == 1
    assert _detect([(0.4, 0.6, 0.0)], threshold=0.61) == []


def test_each_keyword_has_its_own_threshold() -> None:
    windows = [YES, SILENCE, NO]
    assert [event.label for event in _detect(windows, thresholds={"yes": 0.81})] == ["no"]
    assert [event.label for event in _detect(windows, thresholds={"no": 0.71})] == ["yes"]
    # One given at the call is that of every keyword.
    assert len(_detect(windows, threshold=0.5, thresholds={"yes": 0.9, "no": 0.9})) == 2


def test_a_keyword_under_its_own_threshold_stands_in_no_others_way() -> None:
    both = (0.1, 0.5, 0.4)
    (event,) = _detect([both], thresholds={"yes": 0.55, "no": 0.3})
    assert (event.label, event.score) == ("no", 0.4)
    (event,) = _detect([both], thresholds={"yes": 0.5, "no": 0.3})
    assert (event.label, event.score) == ("yes", 0.5)


def test_other_labels_never_fire() -> None:
    assert _detect([SILENCE] * 10, threshold=0.5) == []


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(BundleFault, match=r"\(0, 1\]"):
        _detect([YES], threshold=threshold)


@given(
    words=st.lists(st.sampled_from([SILENCE, YES, NO]), max_size=40),
    smoothing_windows=st.integers(1, 4),
    patience=st.integers(1, 3),
    refractory_samples=st.integers(0, 1000),
)
def test_events_keep_their_distance_and_lie_in_the_stream(
    words: list[tuple[float, ...]], smoothing_windows: int, patience: int, refractory_samples: int
) -> None:
    events = _detect(
        words,
        smoothing_windows=smoothing_windows,
        patience=patience,
        refractory_samples=refractory_samples,
    )
    gaps_s = np.diff([event.end_s for event in events])
    assert (gaps_s >= refractory_samples / 1000 - 1e-9).all()
    for event in events:
        assert 0.0 <= event.start_s < event.end_s <= len(words) * HOP_SAMPLES / 1000
        assert 0.6 <= event.score <= 1.0


def test_after_a_reset_the_same_word_fires_again() -> None:
    decision = Decision(keywords=("yes",), threshold=0.6, refractory_samples=10_000)
    streaming = Streaming(window_samples=400, hop_samples=100)
    detector = KeywordDetector(decision, LABELS, streaming, 1000)
    first = detector.update(np.array(YES), 100)
    assert detector.update(np.array(YES), 200) is None
    detector.reset()
    assert first == Event("yes", 0.0, 0.1, 0.8)
    assert detector.update(np.array(YES), 100) == first
