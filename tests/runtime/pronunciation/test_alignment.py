"""Forced alignment and free decoding, against every path there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.faults import PronunciationFault
from runtime.pronunciation.alignment import Place, align, decode, fewest_frames
from runtime.pronunciation.phone_columns import NOTHING

NUM_PHONES = 3


def _spelled(path: tuple[int, ...]) -> list[int]:
    return [label for label, _ in itertools.groupby(path) if label != NOTHING]


def _random(frames: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet(np.full(1 + NUM_PHONES, 0.5), size=frames) + 1e-9)


def _score(log_probs: np.ndarray, path: tuple[int, ...]) -> float:
    return float(log_probs[np.arange(len(path)), path].sum())


def _path_of(places: list[Place], frames: int) -> tuple[int, ...]:
    path = [NOTHING] * frames
    for place in places:
        path[place.first : place.last + 1] = [place.column] * (place.last + 1 - place.first)
    return tuple(path)


@settings(max_examples=150, deadline=None)
@given(
    frames=st.integers(1, 6),
    phones=st.lists(st.integers(1, NUM_PHONES), min_size=1, max_size=4),
    seed=st.integers(0, 10**6),
)
def test_the_alignment_is_the_best_of_all_paths_that_say_the_phones(
    frames: int, phones: list[int], seed: int
) -> None:
    log_probs = _random(frames, seed)
    paths = [
        path
        for path in itertools.product(range(1 + NUM_PHONES), repeat=frames)
        if _spelled(path) == phones
    ]
    if not paths:
        assert fewest_frames(phones) > frames
        with pytest.raises(PronunciationFault, match=f"the recording has {frames}"):
            align(log_probs, phones)
        return
    places = align(log_probs, phones)
    found = _path_of(places, frames)
    assert [place.column for place in places] == phones
    assert _spelled(found) == phones
    best = max(_score(log_probs, path) for path in paths)
    assert _score(log_probs, found) == pytest.approx(best, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(frames=st.integers(1, 60), seed=st.integers(0, 10**6))
def test_what_is_decoded_aligns_with_itself(frames: int, seed: int) -> None:
    log_probs = _random(frames, seed)
    places = decode(log_probs)
    assert _path_of(places, frames) == tuple(log_probs.argmax(axis=1))
    assert align(log_probs, [place.column for place in places]) == places


def test_a_repeated_phone_needs_a_blank_and_gets_two_places() -> None:
    log_probs = np.log(np.full((5, 1 + NUM_PHONES), 0.01))
    log_probs[[0, 1, 3, 4], 2] = np.log(0.97)
    log_probs[2, NOTHING] = np.log(0.97)
    assert align(log_probs, [2, 2]) == [Place(2, 0, 1), Place(2, 3, 4)]
    with pytest.raises(PronunciationFault, match="2 phones need 3 frames, the recording has 2"):
        align(log_probs[:2], [2, 2])


def test_no_phones_have_no_places() -> None:
    assert align(_random(3, 0), []) == []
    assert decode(np.log([[0.9, 0.1]] * 4)) == []
