"""Words as a whole against what was heard."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.pronunciation.alignment import align, decode, fewest_frames
from runtime.pronunciation.fit import fits
from runtime.pronunciation.phone_columns import NOTHING

NUM_PHONES = 4


def _fits(log_probs: np.ndarray, words: list[list[int]], reach: int) -> list[float] | list[None]:
    places = align(log_probs, [column for word in words for column in word])
    return fits(log_probs, words, places, reach)


def _random(frames: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet(np.full(1 + NUM_PHONES, 0.3), size=frames) + 1e-6)


@settings(max_examples=50, deadline=None)
@given(frames=st.integers(4, 60), seed=st.integers(0, 10**6))
def test_what_was_heard_fits_and_all_else_does_worse(frames: int, seed: int) -> None:
    log_probs = _random(frames, seed)
    heard = [place.column for place in decode(log_probs)]
    if len(heard) < 2:
        return
    assert _fits(log_probs, [heard[:1], heard[1:]], reach=5) == pytest.approx([0, 0], abs=1e-12)
    wrong = [*heard[:-1], heard[-1] % NUM_PHONES + 1]
    if fewest_frames(wrong) > frames:
        return
    (other,) = _fits(log_probs, [wrong], reach=frames)
    assert other is not None
    assert other < 0


def test_a_word_pays_for_its_own_frames_alone() -> None:
    log_probs = np.full((20, 1 + NUM_PHONES), np.log(0.01))
    said = [NOTHING] * 20
    said[2], said[4], said[12], said[15] = 1, 2, 3, 4
    log_probs[np.arange(20), said] = np.log(0.96)
    lost = np.log(0.01) - np.log(0.96)
    assert _fits(log_probs, [[1, 2], [3, 4]], reach=3) == pytest.approx([0, 0])
    # One phone is another: both frames cannot be had by one path, its own or the blank's.
    assert _fits(log_probs, [[1, 2], [3, 3]], reach=3) == pytest.approx([0, lost / 2])
    # Sounds that no word accounts for count for the word that they are beside.
    assert _fits(log_probs, [[1, 2], [3]], reach=3) == pytest.approx([0, lost])
    assert _fits(log_probs, [[1, 2], [3]], reach=2) == pytest.approx([0, 0])


def test_a_text_longer_than_the_recording_has_no_fit() -> None:
    assert fits(_random(3, 0), [[1, 2], [3, 4]], None, reach=2) == [None, None]
