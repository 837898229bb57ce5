"""Bounds against their definitions: what they leave out is as improbable as they say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chi2, poisson

from compress.detection.intervals import binomial_interval, poisson_upper


@pytest.mark.parametrize("hours", [0.1, 1.0, 6.0, 240.0])
def test_no_alarm_in_some_hours_leaves_about_three_over_the_hours(hours):
    assert poisson_upper(0, hours) == pytest.approx(-math.log(0.05) / hours)
    assert poisson_upper(0, hours) * hours == pytest.approx(3.0, abs=0.005)


@given(count=st.integers(0, 300), hours=st.floats(0.01, 500), confidence=st.floats(0.5, 0.999))
def test_at_the_bound_so_few_alarms_are_as_improbable_as_stated(count, hours, confidence):
    bound = poisson_upper(count, hours, confidence)
    assert poisson.cdf(count, bound * hours) == pytest.approx(1.0 - confidence, rel=1e-6)
    assert bound == pytest.approx(chi2.ppf(confidence, 2 * (count + 1)) / 2 / hours)


@given(total=st.integers(0, 200), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_at_either_end_the_count_is_as_improbable_as_stated(total, share, confidence):
    count = round(share * total)
    low, high = binomial_interval(count, total, confidence)
    tail = (1.0 - confidence) / 2.0
    assert low == 0.0 if count == 0 else binom.sf(count - 1, total, low) == pytest.approx(tail)
    assert high == 1.0 if count == total else binom.cdf(count, total, high) == pytest.approx(tail)


@pytest.mark.parametrize(
    "call",
    [
        lambda: poisson_upper(-1, 1.0),
        lambda: poisson_upper(0, 0.0),
        lambda: poisson_upper(0, float("nan")),
        lambda: poisson_upper(0, 1.0, 1.0),
        lambda: binomial_interval(3, 2),
        lambda: binomial_interval(0, 2, 0.0),
    ],
)
def test_values_outside_their_range_are_refused(call):
    with pytest.raises(ValueError, match="must"):
        call()
