"""Scores beside those of experts."""

import json

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import f1_score

from compress import CompressError
from compress.pronunciation.agreement import WRONG_BELOW, agreement


@pytest.fixture
def scores():
    """Of 40 speakers, each with a bias: told, experts', speakers."""
    rng = np.random.default_rng(0)
    speakers = rng.integers(40, size=800)
    experts = rng.choice([0.0, 0.4, 1.0, 1.8, 2.0], size=800)
    bias = rng.normal(0.0, 0.3, size=40)[speakers]
    told = np.clip(0.6 * experts + 0.4 + bias + rng.normal(0.0, 0.3, size=800), 0.0, 2.0)
    return told, experts, speakers


def test_measures_are_those_of_trusted_libraries(scores):
    told, experts, speakers = scores
    found = agreement(told, experts, speakers, wrong_below=WRONG_BELOW)
    assert (found.scores, found.speakers) == (800, 40)
    assert found.correlation.value == pytest.approx(pearsonr(told, experts).statistic, rel=1e-12)
    assert found.squared_error.value == pytest.approx(np.mean((told - experts) ** 2), rel=1e-12)
    assert found.f1_of_wrong.value == pytest.approx(f1_score(experts < 0.5, told < 0.5), rel=1e-12)
    for estimate in (found.correlation, found.squared_error, found.f1_of_wrong):
        assert estimate.low < estimate.value < estimate.high


def test_with_a_speaker_for_each_score_the_interval_is_near_fishers(scores):
    told, experts, _ = scores
    found = agreement(told, experts, range(len(told)), resamples=2000).correlation
    fisher = pearsonr(told, experts).confidence_interval(0.95)
    # Fisher's takes normal scores for granted, which these are not; the draws err by about 0.001.
    assert found.low == pytest.approx(fisher.low, abs=0.01)
    assert found.high == pytest.approx(fisher.high, abs=0.01)


def test_speakers_that_differ_widen_the_interval(scores):
    told, experts, speakers = scores
    apart = agreement(told, experts, range(len(told))).squared_error
    together = agreement(told, experts, speakers).squared_error
    assert together.high - together.low > 1.3 * (apart.high - apart.low)


def test_the_same_seed_draws_the_same(scores):
    assert agreement(*scores) == agreement(*scores)
    assert agreement(*scores) != agreement(*scores, seed=1)


@pytest.mark.filterwarnings("error")
def test_what_is_not_defined_is_none_and_no_number():
    found = agreement([1.1, 1.1, 1.1], [2.0, 1.0, 2.0], "aab", wrong_below=WRONG_BELOW)
    assert (found.correlation.value, found.correlation.low) == (None, None)
    assert found.f1_of_wrong.value is None
    assert found.squared_error.value == pytest.approx((0.81 + 0.01 + 0.81) / 3)
    assert json.loads(json.dumps(found.to_dict()))["correlation"]["value"] is None
    alone = agreement([0.0, 2.0], [0.0, 2.0], "aa")
    assert (alone.correlation.value, alone.correlation.low) == (pytest.approx(1.0), None)
    assert alone.f1_of_wrong is None


def test_accepting_everything_finds_nothing_wrong():
    found = agreement([2.0] * 4, [2.0, 2.0, 0.4, 0.5], "abcd", wrong_below=WRONG_BELOW)
    assert found.f1_of_wrong.value == 0.0


@pytest.mark.parametrize(
    ("told", "experts", "speakers", "said"),
    [
        ([], [], "", "0 scores, 0 of experts and 0 speakers"),
        ([1.0], [1.0, 2.0], "a", "1 scores, 2 of experts"),
        ([1.0], [1.0], "ab", "2 speakers of them cannot be compared"),
        ([1.0, 2.1], [1.0, 2.0], "ab", r"told\[1\] is 2.1; scores lie in \[0, 2\]"),
        ([1.0], [float("nan")], "a", r"experts\[0\] is nan"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(told, experts, speakers, said):
    with pytest.raises(CompressError, match=said):
        agreement(told, experts, speakers)


def test_what_is_told_as_wrong_may_have_a_threshold_of_its_own():
    told, experts = [0.2, 1.2, 1.6, 1.9], [0.0, 0.4, 2.0, 1.8]
    for told_below, f1 in ((None, 2 / 3), (1.5, 1.0), (1.7, 4 / 5)):
        found = agreement(told, experts, list("abcd"), wrong_below=0.5, told_below=told_below)
        assert found.f1_of_wrong.value == pytest.approx(f1)
