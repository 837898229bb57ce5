import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_spaces import every_subnet, tiny_space

from compress import BudgetError
from compress.cost.params import params
from compress.feasible import (
    FeasibleSet,
    count_within,
    feasibility,
    sample_within,
    uniform_below,
)
from compress.spaces import get_space, space_names

TINY = tiny_space()
TINY_COSTS = {subnet: params(TINY, subnet) for subnet in every_subnet(TINY)}


@given(target=st.integers(min(TINY_COSTS.values()) - 20, max(TINY_COSTS.values()) + 20))
def test_the_count_is_that_of_listing_every_subnet(target):
    assert count_within(TINY, target) == sum(cost <= target for cost in TINY_COSTS.values())


@given(target=st.integers(min(TINY_COSTS.values()), max(TINY_COSTS.values()) + 20))
def test_each_subnet_that_fits_has_exactly_one_rank(target):
    within = FeasibleSet(TINY, target)
    ranked = [within.at(rank) for rank in range(within.count)]
    assert len(set(ranked)) == len(ranked)
    assert set(ranked) == {subnet for subnet, cost in TINY_COSTS.items() if cost <= target}


@given(target=st.integers(min(TINY_COSTS.values()), max(TINY_COSTS.values()) + 20))
def test_the_largest_that_fits_is_the_most_expensive_of_the_list(target):
    largest = FeasibleSet(TINY, target).largest()
    assert TINY_COSTS[largest] == max(cost for cost in TINY_COSTS.values() if cost <= target)


def test_samples_are_uniform_over_subnets_not_over_choices():
    target = int(np.median(list(TINY_COSTS.values())))
    rng = np.random.default_rng(0)
    num_subnets, num_draws = count_within(TINY, target), 40_000
    drawn = Counter(sample_within(TINY, target, rng) for _ in range(num_draws))
    assert len(drawn) == num_subnets
    expected = num_draws / num_subnets
    chi_square = sum((count - expected) ** 2 / expected for count in drawn.values())
    degrees = num_subnets - 1
    assert abs(chi_square - degrees) < 4 * np.sqrt(2 * degrees)  # 4 sigma


@given(bits=st.integers(0, 200), seed=st.integers(0, 99))
def test_big_draws_stay_below_their_bound(bits, seed):
    rng = np.random.default_rng(seed)
    bound = 2**bits + (seed % 3 if bits > 2 else 0)
    assert all(0 <= uniform_below(bound, rng) < bound for _ in range(20))


def test_draws_above_64_bits_reach_every_part_of_the_range():
    rng, bound = np.random.default_rng(0), 3 * 2**100
    fifths = Counter(5 * uniform_below(bound, rng) // bound for _ in range(5000))
    assert [fifths[k] / 5000 for k in range(5)] == pytest.approx([0.2] * 5, abs=0.03)  # 5 sigma


@pytest.mark.parametrize("name", space_names())
def test_the_whole_space_fits_its_largest_subnet_and_one_fits_its_smallest(name):
    space = get_space(name)
    assert count_within(space, params(space, space.largest())) == space.size()
    assert count_within(space, params(space, space.largest()) - 1) == space.size() - 1
    assert count_within(space, params(space, space.smallest())) == 1
    assert count_within(space, params(space, space.smallest()) - 1) == 0


@given(targets=st.tuples(st.integers(11_000_000, 45_000_000), st.integers(0, 2_000_000)))
def test_a_higher_target_never_fits_fewer(targets):
    space = get_space("lighthubert-small")
    low, more = targets
    assert count_within(space, low) <= count_within(space, low + more)


@given(name=st.sampled_from(space_names()), share=st.floats(0, 1), seed=st.integers(0, 999))
def test_samples_fit_their_target_and_their_space(name, share, seed):
    space = get_space(name)
    low, high = params(space, space.smallest()), params(space, space.largest())
    target = int(low + share * (high - low))
    subnet = sample_within(space, target, np.random.default_rng(seed))
    space.check(subnet)
    assert params(space, subnet) <= target


def test_a_target_below_the_smallest_names_it_and_the_way_out():
    with pytest.raises(BudgetError, match=r"fits 1,000,000 .* 11,449,088\. .*--target-params"):
        feasibility(get_space("lighthubert-small"), 1_000_000)


def test_the_report_counts_a_thirty_million_target_at_once():
    started = time.perf_counter()
    report = feasibility(get_space("lighthubert-small"), 30_000_000)
    assert time.perf_counter() - started < 2  # the promise of --dry-run, with room
    assert report.smallest_params == 11_449_088
    assert report.largest_params == 44_398_336
    assert report.num_subnets == 951_892_141_473
    # Against an independent Monte Carlo estimate over subnets, at 5 sigma.
    rng, space = np.random.default_rng(0), get_space("lighthubert-small")
    whole = FeasibleSet(space, report.largest_params)
    share = np.mean([params(space, whole.sample(rng)) <= 30_000_000 for _ in range(4000)])
    assert report.num_within / report.num_subnets == pytest.approx(share, abs=0.04)
