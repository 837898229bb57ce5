"""One event a word: as many hits as any assignment has, and everything else a false alarm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from compress.detection.matching import Word, match

words = st.builds(
    lambda keyword, start, length: Word(keyword, start, start + length),
    st.integers(0, 1),
    st.integers(0, 60),
    st.integers(0, 20),
)
events = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 80)), max_size=12).map(
    lambda found: sorted(found, key=lambda event: event[1])
)


@given(said=st.lists(words, max_size=8), heard=events, tolerance=st.integers(0, 15))
def test_hits_are_as_many_as_any_assignment_has(said, heard, tolerance):
    may_hit = [
        [
            word.keyword == keyword and word.start_samples <= time <= word.end_samples + tolerance
            for keyword, time in heard
        ]
        for word in said
    ]
    most = 0
    if said and heard:
        pairs = maximum_bipartite_matching(csr_array(np.array(may_hit, dtype=int)))
        most = int(np.sum(pairs >= 0))
    matched = match(said, heard, tolerance_samples=tolerance)
    hits = [(word.keyword, t) for word, t in zip(said, matched.fired_samples, strict=True)
            if t is not None]  # fmt: skip
    assert len(hits) == most
    assert sorted([*hits, *matched.false_alarms]) == sorted(heard)  # each event once
    for word, time in zip(said, matched.fired_samples, strict=True):
        assert time is None or word.start_samples <= time <= word.end_samples + tolerance


def test_a_second_event_another_word_and_one_outside_are_false_alarms():
    said = [Word(0, 100, 200), Word(1, 400, 500)]
    heard = [(0, 90), (0, 150), (0, 180), (1, 190), (0, 450), (1, 551)]
    matched = match(said, heard, tolerance_samples=50)
    assert matched.fired_samples == (150, None)
    assert matched.false_alarms == ((0, 90), (0, 180), (1, 190), (0, 450), (1, 551))
    assert match(said, [(1, 550)], tolerance_samples=50).fired_samples == (None, 550)


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="0 or more, got -1"):
        match([], [], tolerance_samples=-1)
