"""The law of the curve for typed phrases: the events of one pass are the runtime's own."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "runtime" / "phrases"))

from spoken_phones import FRAME, LABELS, RATE, phone_model, waveform_of

from compress.detection.sweep import sweep
from compress.detection.trace import keywords_of, trace

ASKED = {"a b": ["A B", "A A B"], "a b c": ["A B C"], "c": ["C"]}


def deciding(**changes):
    model = phone_model(ASKED)
    phrases = model.manifest.phrases
    phrases = dataclasses.replace(
        phrases, decision=dataclasses.replace(phrases.decision, **changes)
    )
    return dataclasses.replace(model, manifest=dataclasses.replace(model.manifest, phrases=phrases))


@settings(max_examples=40, deadline=None)
@given(
    model=st.builds(
        deciding,
        smoothing_windows=st.integers(1, 4),
        patience=st.integers(1, 2),
        refractory_samples=st.integers(0, 60),
    ),
    seed=st.integers(0, 9999),
    frames=st.integers(0, 60),
    thresholds=st.lists(st.floats(0.001, 1.0), min_size=1, max_size=5),
)
def test_one_pass_gives_the_events_of_phrases_at_every_threshold(model, seed, frames, thresholds):
    rng = np.random.default_rng(seed)
    waveform = waveform_of(rng.dirichlet(np.full(len(LABELS), 0.2), size=frames))
    heard = trace(model, waveform)
    assert heard.keywords == keywords_of(model.manifest) == tuple(ASKED)
    decision = model.manifest.keyword_decision
    events = sweep(heard, np.repeat(np.array(thresholds)[:, None], len(ASKED), axis=1), decision)
    for choice, threshold in enumerate(thresholds):
        stream = model.stream(threshold=threshold, gate=False)
        expected = [*stream.push(waveform), *stream.flush()]
        found = events.choice == choice
        told = [heard.keywords[keyword] for keyword in events.keyword[found]]
        assert told == [event.label for event in expected]
        assert events.score[found].tolist() == [event.score for event in expected]
        ends_s = np.minimum(events.fired_samples[found], len(waveform)) / RATE
        np.testing.assert_allclose(ends_s, [event.end_s for event in expected])
    assert (heard.end_samples == FRAME * np.arange(1, len(heard.scores) + 1)).all()
