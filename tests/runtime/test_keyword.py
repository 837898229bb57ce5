"""Posteriors to events: one event a spoken word."""

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
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
    return list(itertools.chain.from_iterable(found))


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


def _detect_any(
    windows: list[dict[str, float]],
    keywords: tuple[str, ...],
    *,
    thresholds: Mapping[str, float] | None = None,
    patience: int = 1,
    smoothing_windows: int = 1,
    refractory_samples: int = 500,
) -> list[tuple[str, int, float]]:
    """Label, sample of decision and score, of windows with posteriors for some keywords."""
    decision = Decision(
        keywords=keywords,
        threshold=0.4,
        thresholds=thresholds or {},
        patience=patience,
        smoothing_windows=smoothing_windows,
        refractory_samples=refractory_samples,
    )
    streaming = Streaming(window_samples=400, hop_samples=HOP_SAMPLES)
    detector = KeywordDetector(decision, keywords, streaming, 1000)
    found = []
    for number, window in enumerate(windows, start=1):
        posteriors = np.array([window.get(word, 0.0) for word in keywords])
        for event in detector.update(posteriors, number * HOP_SAMPLES):
            found.append((event.label, number * HOP_SAMPLES, event.score))
    return found


@pytest.mark.parametrize(
    "shorter, longer",
    [
        ("on", "on the lights"),
        ("computer", "hey computer"),
        ("the", "on the lights"),
        ("seven", "Seventeen"),
        ("hey_computer", "hey computer stop"),
    ],
)
def test_a_longer_keyword_is_told_after_its_part_and_the_part_not_after_it(
    shorter: str, longer: str
) -> None:
    words = (shorter, longer)
    silence: dict[str, float] = {}
    found = _detect_any([{shorter: 0.9}, silence, {longer: 0.9}, silence, {shorter: 0.9}], words)
    assert [(label, at) for label, at, _ in found] == [(shorter, 100), (longer, 300)]
    found = _detect_any([{longer: 0.9}, silence, {shorter: 0.9}], words)
    assert [label for label, _, _ in found] == [longer]
    # In one window the longer wins, though it is the less likely of the two.
    found = _detect_any([{shorter: 0.5, longer: 0.45}], words)
    assert found == [(longer, 100, 0.45)]
    # And not where it stays under its own threshold.
    found = _detect_any([{shorter: 0.5, longer: 0.45}], words, thresholds={longer: 0.46})
    assert found == [(shorter, 100, 0.5)]


@pytest.mark.parametrize("other", ["monday", "Only", "o", "yes", "ON"])
def test_what_does_not_hold_a_keyword_waits_for_the_refractory_time(other: str) -> None:
    first = "on" if other != "Only" else "lyon"
    silence: dict[str, float] = {}
    windows = [{first: 0.9}, silence, {other: 0.9}, silence, silence, silence, {other: 0.9}]
    found = _detect_any(windows, (first, other))
    assert [(label, at) for label, at, _ in found] == [(first, 100), (other, 700)]


NESTED = ("on", "on the", "on the lights", "lights", "stop", "ON")


@settings(deadline=None)
@given(
    scores=st.lists(
        st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]), min_size=6, max_size=6), max_size=20
    ),
    thresholds=st.dictionaries(st.sampled_from(NESTED), st.sampled_from([0.2, 0.5, 0.6, 1.0])),
    smoothing_windows=st.integers(1, 4),
    patience=st.integers(1, 3),
    refractory_samples=st.integers(0, 1000),
)
def test_no_keyword_is_told_twice_within_its_refractory_time_or_under_its_threshold(
    scores: list[list[float]],
    thresholds: dict[str, float],
    smoothing_windows: int,
    patience: int,
    refractory_samples: int,
) -> None:
    found = _detect_any(
        [dict(zip(NESTED, row, strict=True)) for row in scores],
        NESTED,
        thresholds=thresholds,
        smoothing_windows=smoothing_windows,
        patience=patience,
        refractory_samples=refractory_samples,
    )
    for word in NESTED:
        ends = [at for label, at, _ in found if label == word]
        assert all(gap >= max(refractory_samples, 1) for gap in np.diff(ends))
    for label, _, score in found:
        assert score >= thresholds.get(label, 0.4)
    for (first, at, _), (second, later, _) in itertools.pairwise(found):
        if later < at + refractory_samples:
            assert first.casefold() in second
            assert len(second) > len(first)


def test_a_thousand_keywords_are_told_apart() -> None:
    words = tuple(f"word {number}" for number in range(1000))
    windows = [{words[number]: 0.9} for number in (7, 70, 700, 7)]
    found = _detect_any(windows, words, refractory_samples=0)
    assert [label for label, _, _ in found] == ["word 7", "word 70", "word 700", "word 7"]


def test_after_left_out_windows_an_event_rests_on_as_many_as_ever() -> None:
    decision = Decision(keywords=("yes",), threshold=0.6, smoothing_windows=3, patience=2)
    streaming = Streaming(window_samples=400, hop_samples=100)
    detector = KeywordDetector(decision, LABELS, streaming, 1000)
    assert detector.update(np.array(SILENCE), 100) == []
    assert detector.at_rest
    detector.skip()
    found = [detector.update(np.array(YES), end) for end in range(5000, 5500, 100)]
    # Windows 1 and 2 fill the mean, 3 and 4 agree.
    assert [len(events) for events in found] == [0, 0, 0, 1, 0]
    assert not detector.at_rest


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
    assert detector.update(np.array(YES), 200) == []
    detector.reset()
    assert first == [Event("yes", 0.0, 0.1, 0.8)]
    assert detector.update(np.array(YES), 100) == first
