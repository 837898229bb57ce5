"""The law of the curve: at every threshold, the events of one pass are the runtime's own."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_spotter import HOP_SAMPLES, KEYWORDS, LABELS, say, spotter

from compress.detection.det import between_peaks, count_alarms
from compress.detection.sweep import sweep
from compress.detection.trace import keywords_of, trace

decisions = st.builds(
    spotter,
    smoothing_windows=st.integers(1, 12),
    patience=st.integers(1, 2),
    refractory_samples=st.integers(0, 60),
)


def random_posteriors(seed: int, num_answers: int) -> np.ndarray:
    """Keywords that come and go, with ties, stretches of silence and saturated answers."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0.0, 1.5, (num_answers, len(LABELS))), axis=0)
    walk[:, 0] += rng.choice([0.0, 8.0])
    powers = np.exp(walk - walk.max(axis=1, keepdims=True))
    posteriors = powers / powers.sum(axis=1, keepdims=True)
    rounded = np.round(posteriors, 1)  # exact ties of scores, and scores on a threshold
    return np.where(rng.random((num_answers, 1)) < 0.5, rounded, posteriors).astype(np.float32)


@settings(max_examples=40)
@given(
    model=decisions,
    seed=st.integers(0, 9999),
    num_answers=st.integers(0, 80),
    thresholds=st.lists(st.floats(0.001, 1.0), min_size=1, max_size=6),
)
def test_one_pass_gives_the_runtimes_events_at_every_threshold(
    model, seed, num_answers, thresholds
):
    waveform = say(random_posteriors(seed, num_answers))
    heard = trace(model, waveform)
    of_interest = [between_peaks([heard], keyword, num_peaks=4) for keyword in range(3)]
    chosen = np.concatenate([*of_interest, thresholds])
    events = sweep(heard, np.repeat(chosen[:, None], 3, axis=1), model.manifest.decision)
    words = keywords_of(model.manifest)
    for choice, threshold in enumerate(chosen):
        stream = model.stream(threshold=float(threshold), gate=False)
        pushed = stream.push(waveform)
        expected = [*pushed, *stream.flush()]
        found = events.choice == choice
        assert [words[k] for k in events.keyword[found]] == [event.label for event in expected]
        scores = [min(score, 1.0) for score in events.score[found]]
        assert scores == [event.score for event in expected]  # to the last bit
        lag = (model.manifest.decision.patience - 1) * HOP_SAMPLES
        ends_s = [(fired - lag) / 16000 for fired in events.fired_samples[found]]
        assert ends_s[: len(pushed)] == [event.end_s for event in pushed]


@settings(max_examples=40)
@given(
    model=decisions,
    seed=st.integers(0, 9999),
    own=st.lists(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3), min_size=1, max_size=4),
)
def test_the_same_holds_where_each_keyword_has_a_threshold_of_its_own(model, seed, own):
    waveform = say(random_posteriors(seed, 40))
    decision, words = model.manifest.decision, keywords_of(model.manifest)
    events = sweep(trace(model, waveform), np.array(own), decision)
    for choice, thresholds in enumerate(own):
        mine = dataclasses.replace(decision, thresholds=dict(zip(words, thresholds, strict=True)))
        manifest = dataclasses.replace(model.manifest, decision=mine)
        stream = dataclasses.replace(model, manifest=manifest).stream(gate=False)
        expected = [(event.label, event.score) for event in stream.push(waveform)]
        expected += [(event.label, event.score) for event in stream.flush()]
        found = events.choice == choice
        scores = [min(score, 1.0) for score in events.score[found]]
        labels = [words[keyword] for keyword in events.keyword[found]]
        assert list(zip(labels, scores, strict=True)) == expected


@settings(max_examples=40)
@given(model=decisions, seed=st.integers(0, 9999))
def test_alarms_are_counted_per_keyword_and_threshold(model, seed):
    traces = [trace(model, say(random_posteriors(seed + part, 40))) for part in range(2)]
    thresholds = np.array([[0.2, 0.2, 0.2], [0.9, 0.9, 0.9]])
    alarms = count_alarms(traces, thresholds, model.manifest.decision, sample_rate=16000)
    assert alarms.hours == pytest.approx(2 * 40 * HOP_SAMPLES / 16000 / 3600)
    for choice, threshold in enumerate((0.2, 0.9)):
        labels = []
        for part in range(2):
            stream = model.stream(threshold=threshold, gate=False)
            labels += stream.push(say(random_posteriors(seed + part, 40)))
            labels += stream.flush()
        counts = {word: sum(event.label == word for event in labels) for word in KEYWORDS}
        assert dict(zip(keywords_of(model.manifest), alarms.counts[choice], strict=True)) == counts


def test_nothing_is_heard_in_no_samples():
    heard = trace(spotter(), np.zeros(0, dtype=np.float32))
    assert heard.scores.shape == (0, 3)
    assert len(sweep(heard, np.full((2, 3), 0.5), spotter().manifest.decision).choice) == 0
