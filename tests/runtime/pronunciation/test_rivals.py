"""Rivals of a phone in its place, against every path there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.pronunciation.alignment import Place
from runtime.pronunciation.phone_columns import NOTHING
from runtime.pronunciation.rivals import rivals

NUM_PHONES = 3


def _random(frames: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet(np.full(1 + NUM_PHONES, 0.5), size=frames) + 1e-9)


@settings(max_examples=150, deadline=None)
@given(
    frames=st.integers(1, 6),
    before=st.none() | st.integers(1, NUM_PHONES),
    after=st.none() | st.integers(1, NUM_PHONES),
    seed=st.integers(0, 10**6),
)
def test_each_rival_has_the_best_of_all_paths_with_it_between_the_neighbours(
    frames: int, before: int | None, after: int | None, seed: int
) -> None:
    log_probs = _random(frames, seed)
    found = rivals(
        log_probs,
        Place(1, 0, frames - 1),
        None if before is None else Place(before, 0, 0),
        None if after is None else Place(after, frames - 1, frames - 1),
        reach=frames,
    )
    best = np.full(1 + NUM_PHONES, -np.inf)
    around = [[label] if label is not None else [] for label in (before, after)]
    for path in itertools.product(range(1 + NUM_PHONES), repeat=frames):
        # A path starts in the phone before and ends in the phone after, where there is one.
        if path[0] != (before or path[0]) or path[-1] != (after or path[-1]):
            continue
        said = [label for label, _ in itertools.groupby(path) if label != NOTHING]
        score = log_probs[np.arange(frames), path].sum()
        for rival in range(1 + NUM_PHONES):
            middle = [] if rival == NOTHING else [rival]
            if said == around[0] + middle + around[1]:
                best[rival] = max(best[rival], score)
    assert found == pytest.approx(best, abs=1e-9)


def test_what_lies_out_of_reach_changes_nothing() -> None:
    log_probs = np.log(np.full((40, 1 + NUM_PHONES), 0.01))
    log_probs[:, NOTHING] = np.log(0.97)
    log_probs[20] = np.log([0.01, 0.9, 0.08, 0.01])
    place = Place(1, 20, 20)
    expected = rivals(log_probs, place, None, None, reach=5)
    log_probs[:14], log_probs[26:] = log_probs[20], np.log(0.25)
    far = Place(3, 10, 13), Place(2, 26, 30)
    assert rivals(log_probs, place, *far, reach=5) == pytest.approx(expected)
    assert np.argmax(expected) == 1
