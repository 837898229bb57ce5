"""Chosen thresholds keep what they promise on the audio that they were chosen on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_spotter import say, spotter

from compress import CompressError
from compress.detection.det import count_alarms
from compress.detection.thresholds import choose_thresholds
from compress.detection.trace import trace

LEAST = 0.2


def speech(seed: int, num_answers: int = 300) -> np.ndarray:
    """Posteriors that wander, with false alarms of every keyword."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0.0, 0.7, (num_answers, 4)), axis=0)
    walk -= np.cumsum(walk, axis=0) / np.arange(1, num_answers + 1)[:, None]
    powers = np.exp(walk - walk.max(axis=1, keepdims=True))
    return (0.98 * powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def choose(model, traces, allowed):
    decision = model.manifest.decision
    return choose_thresholds(traces, decision, allowed=allowed, least=LEAST, sample_rate=16_000)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 9999),
    allowed=st.integers(0, 12),
    smoothing=st.integers(1, 3),
    refractory=st.integers(0, 40),
)
def test_no_keyword_exceeds_its_share_where_all_are_heard_together(
    seed, allowed, smoothing, refractory
):
    model = spotter(smoothing_windows=smoothing, refractory_samples=refractory)
    traces = [trace(model, say(speech(seed + part))) for part in range(2)]
    chosen = choose(model, traces, allowed)
    counts = count_alarms(traces, chosen[None], model.manifest.decision, sample_rate=16_000).counts[
        0
    ]
    assert counts.sum() <= allowed
    assert counts.max() - allowed // 3 <= (allowed % 3 > 0)
    assert ((chosen >= LEAST) & (chosen <= 1.0)).all()


def test_a_threshold_lies_between_the_last_alarm_let_through_and_the_first_held_back():
    rows = np.array([[1, 0, 0, 0]] * 12, dtype=np.float32)
    rows[[1, 3, 5], 2] = 0.9, 0.8, 0.5  # yes
    rows[[7, 9], 1] = 0.6, 0.4  # no
    model = spotter()
    traces = [trace(model, say(rows))]
    # Shares of 3 alarms are 1, 1 and 1; of 4 the last goes to "yes", the highest.
    np.testing.assert_allclose(choose(model, traces, 3), [0.5, 0.85, LEAST], atol=1e-6)
    np.testing.assert_allclose(choose(model, traces, 4), [0.5, 0.65, LEAST], atol=1e-6)
    np.testing.assert_allclose(choose(model, traces, 0), [0.8, 0.95, LEAST], atol=1e-6)


def test_scores_at_their_most_cannot_be_held_back():
    rows = np.array([[1, 0, 0, 0], [0, 0, 1, 0]] * 3, dtype=np.float32)
    model = spotter()
    with pytest.raises(CompressError, match=r"'yes' gives 3 false alarms even at a threshold of 1"):
        choose(model, [trace(model, say(rows))], 3)
