"""Curves: which threshold a rate asks for, what is counted, and closed forms."""

import numpy as np
from tiny_spotter import HOP_SAMPLES, say, spotter

from compress.detection.det import (
    alarms_allowed,
    between_peaks,
    choice_within,
    count_hits,
    even_thresholds,
)
from compress.detection.matching import Word
from compress.detection.trace import trace


def posteriors(**peaks: list[float]) -> np.ndarray:
    """Silence, and keywords with these posteriors in this order, an answer of silence between."""
    columns = {"no": 1, "yes": 2, "yes sir": 3}
    rows = []
    for word, scores in peaks.items():
        for score in scores:
            row = np.zeros(4)
            row[[0, columns[word]]] = 1.0 - score, score
            rows += [row, np.array([1.0, 0.0, 0.0, 0.0])]
    return np.array(rows, dtype=np.float32)


def test_alarms_that_are_not_monotone_do_not_pass_for_few():
    assert choice_within(np.array([9, 1, 3, 1, 0]), 1) == 3
    assert choice_within(np.array([2, 2, 1, 1, 1]), 0) is None
    assert choice_within(np.array([0, 0, 0]), 0) == 0


def test_a_rate_is_resolved_where_one_alarm_is_to_be_expected():
    assert alarms_allowed(0.1, 9.99) == 0
    assert alarms_allowed(0.1, 10.0) == 1
    assert alarms_allowed(0.1, 30.0) == 3
    assert alarms_allowed(1.0, 0.5) == 0


def test_thresholds_lie_between_peaks_and_above_the_highest():
    heard = trace(spotter(), say(posteriors(yes=[0.5, 0.75, 0.25], no=[0.9])))
    assert between_peaks([heard], 1, num_peaks=2).tolist() == [0.625, 0.875, 1.0]
    assert between_peaks([heard, heard], 1, num_peaks=9).tolist() == [0.375, 0.625, 0.875, 1.0]
    assert between_peaks([heard], 2, num_peaks=2).tolist() == [1.0]
    assert between_peaks([], 0, num_peaks=2).tolist() == [1.0]


def test_even_thresholds_ascend_to_one():
    assert (np.diff(even_thresholds()) > 0).all()
    assert even_thresholds()[-1] == 1.0


def test_misses_extras_and_lags_are_those_of_the_words():
    # yes, yes, no and yes sir are answered after hops 1, 3, 5 and 7
    heard = trace(spotter(), say(posteriors(yes=[0.9, 0.6], no=[0.7], **{"yes sir": [0.8]})))
    said = [Word(1, 0, 4), Word(1, 10, 14), Word(0, 20, 26), Word(0, 60, 70)]
    thresholds = np.repeat([[0.85], [0.5]], 3, axis=1)
    hits = count_hits([(heard, said)], thresholds, spotter().manifest.decision, tolerance_samples=2)
    assert hits.words.tolist() == [2, 2, 0]
    assert hits.misses.tolist() == [[2, 1, 0], [1, 0, 0]]
    assert hits.extras.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert [lags.tolist() for lags in hits.lags_samples] == [[-1], [1, 1], []]
    assert HOP_SAMPLES == 5
