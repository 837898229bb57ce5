from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_spaces import every_subnet, tiny_space

from compress import BudgetError, CompressError
from compress.budget import Budget
from compress.cost import macs, size
from compress.cost.params import params
from compress.feasible import (
    FeasibleSet,
    count_within,
    feasibility,
    least_of,
    sample_within,
    uniform_below,
    within_each,
)
from compress.spaces import get_space, space_names

TINY = tiny_space()
TINY_COSTS = {subnet: params(TINY, subnet) for subnet in every_subnet(TINY)}


@given(target=st.integers(min(TINY_COSTS.values()) - 20, max(TINY_COSTS.values()) + 20))
def test_the_count_is_that_of_listing_every_subnet(target):
    assert count_within(TINY, Budget(params=target)) == sum(
        cost <= target for cost in TINY_COSTS.values()
    )


@given(target=st.integers(min(TINY_COSTS.values()), max(TINY_COSTS.values()) + 20))
def test_each_subnet_that_fits_has_exactly_one_rank(target):
    within = FeasibleSet(TINY, Budget(params=target))
    ranked = [within.at(rank) for rank in range(within.count)]
    assert len(set(ranked)) == len(ranked)
    assert set(ranked) == {subnet for subnet, cost in TINY_COSTS.items() if cost <= target}


@given(target=st.integers(min(TINY_COSTS.values()), max(TINY_COSTS.values()) + 20))
def test_the_largest_that_fits_is_the_most_expensive_of_the_list(target):
    largest = FeasibleSet(TINY, Budget(params=target)).largest()
    assert TINY_COSTS[largest] == max(cost for cost in TINY_COSTS.values() if cost <= target)


def test_samples_are_uniform_over_subnets_not_over_choices():
    target = int(np.median(list(TINY_COSTS.values())))
    rng = np.random.default_rng(0)
    num_subnets, num_draws = count_within(TINY, Budget(params=target)), 40_000
    drawn = Counter(sample_within(TINY, Budget(params=target), rng) for _ in range(num_draws))
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
    most, least = params(space, space.largest()), params(space, space.smallest())
    assert count_within(space, Budget(params=most)) == space.size()
    assert count_within(space, Budget(params=most - 1)) == space.size() - 1
    assert count_within(space, Budget(params=least)) == 1
    assert count_within(space, Budget(params=least - 1)) == 0


@given(targets=st.tuples(st.integers(11_000_000, 45_000_000), st.integers(0, 2_000_000)))
def test_a_higher_target_never_fits_fewer(targets):
    space = get_space("lighthubert-small")
    low, more = targets
    fewer, all_of_them = Budget(params=low), Budget(params=low + more)
    assert count_within(space, fewer) <= count_within(space, all_of_them)


@settings(deadline=None)  # the first of a space with an elastic extractor tabulates it
@given(name=st.sampled_from(space_names()), share=st.floats(0, 1), seed=st.integers(0, 999))
def test_samples_fit_their_target_and_their_space(name, share, seed):
    space = get_space(name)
    low, high = params(space, space.smallest()), params(space, space.largest())
    target = int(low + share * (high - low))
    subnet = sample_within(space, Budget(params=target), np.random.default_rng(seed))
    space.check(subnet)
    assert params(space, subnet) <= target


def test_a_target_below_the_smallest_names_it_and_the_way_out():
    with pytest.raises(
        BudgetError, match=r"fits 1,000,000 .* 11,449,088 parameters\. .*--target-params"
    ):
        feasibility(get_space("lighthubert-small"), Budget(params=1_000_000))


def test_the_report_counts_a_thirty_million_target_at_once():
    report = feasibility(get_space("lighthubert-small"), Budget(params=30_000_000))
    assert report.smallest_costs["params"] == 11_449_088
    assert report.largest_costs["params"] == 44_398_336
    assert report.num_subnets == 951_892_141_473
    # Against an independent Monte Carlo estimate over subnets, at 5 sigma.
    rng, space = np.random.default_rng(0), get_space("lighthubert-small")
    whole = FeasibleSet(space, Budget(params=report.largest_costs["params"]))
    share = np.mean([params(space, whole.sample(rng)) <= 30_000_000 for _ in range(4000)])
    assert report.num_within / report.num_subnets == pytest.approx(share, abs=0.04)


class Device:
    """A latency that grows with no size: what a table measured with noise may look like."""

    def rest(self, full, dense):
        channels = sum(conv.channels for conv in dense.conv_layers)
        return 1000 * dense.embed_dim % 7 + 13 * channels % 11

    def layer(self, dense, heads, ffn):
        return (31 * heads + 17 * ffn + dense.embed_dim) % 23 + 1


DEVICE = Device()
ELASTIC = tiny_space(num_layers=2, elastic=True)
NO_LIMITS = Budget(params=10**9, device=DEVICE)
ELASTIC_COSTS = {subnet: NO_LIMITS.cost_of(ELASTIC, subnet) for subnet in every_subnet(ELASTIC)}


@st.composite
def budgets(draw):
    """Limits on some of the costs, each one that some subnet has, give or take one."""
    names = draw(st.sets(st.sampled_from(sorted(NO_LIMITS.costs)), min_size=1))
    limits = {}
    for name in names:
        values = sorted({costs[name] for costs in ELASTIC_COSTS.values()})
        limits[name] = max(1, draw(st.sampled_from(values)) + draw(st.integers(-1, 1)))
    return Budget(**limits, device=DEVICE)


@given(budget=budgets(), seed=st.integers(0, 999))
def test_several_limits_at_once_count_rank_and_draw_as_a_list_would(budget, seed):
    fitting = {s for s, costs in ELASTIC_COSTS.items() if budget.holds(costs)}
    assert count_within(ELASTIC, budget) == len(fitting)
    for name, count in within_each(ELASTIC, budget).items():
        limit = budget.limits[name]
        assert count == sum(costs[name] <= limit for costs in ELASTIC_COSTS.values())
    if not fitting:
        with pytest.raises(BudgetError, match="no subnet of space 'tiny'"):
            FeasibleSet(ELASTIC, budget)
        return
    within = FeasibleSet(ELASTIC, budget)
    rng = np.random.default_rng(seed)
    assert within.sample(rng) in fitting
    assert ELASTIC_COSTS[within.largest()]["params"] == max(
        ELASTIC_COSTS[subnet]["params"] for subnet in fitting
    )
    assert within.largest() in fitting
    ranks = rng.choice(within.count, min(20, within.count), replace=False)
    assert len({within.at(int(rank)) for rank in ranks} & fitting) == len(ranks)


def test_every_rank_under_several_limits_is_another_subnet():
    values = sorted(ELASTIC_COSTS.values(), key=lambda costs: costs["macs"])
    budget = Budget(macs=values[len(values) // 2]["macs"], latency_ns=25, device=DEVICE)
    within = FeasibleSet(ELASTIC, budget)
    assert {within.at(rank) for rank in range(within.count)} == {
        s for s, costs in ELASTIC_COSTS.items() if budget.holds(costs)
    }


@pytest.mark.parametrize("name", sorted(NO_LIMITS.costs))
def test_the_least_of_a_cost_is_the_lists(name):
    wanted = min(costs[name] for costs in ELASTIC_COSTS.values())
    assert least_of(ELASTIC, NO_LIMITS.costs[name]) == wanted


def test_limits_that_exclude_each_other_say_so_with_what_keeps_each():
    big = max(ELASTIC_COSTS.values(), key=lambda costs: costs["macs"])
    fast = min(costs["latency_ns"] for costs in ELASTIC_COSTS.values())
    small = min(costs["params"] for costs in ELASTIC_COSTS.values() if costs["latency_ns"] == fast)
    assert small < big["params"]
    budget = Budget(params=small - 1, latency_ns=fast, device=DEVICE)
    with pytest.raises(BudgetError, match=r"--target-params and --latency-ms together, .* keep"):
        FeasibleSet(ELASTIC, budget)


def test_a_limit_that_nothing_keeps_names_itself_and_the_least():
    with pytest.raises(BudgetError, match=r"1,000 MACs .* the least is .*--target-macs"):
        FeasibleSet(get_space("otolite-tiny"), Budget(params=10**9, macs=1_000))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "needs a budget: give --target-params"),
        ({"macs": 0}, "--target-macs must be positive, got 0"),
        ({"latency_ns": 5}, "--latency-ms needs --device TABLE"),
    ],
)
def test_a_budget_without_a_sense_is_refused(limits, message):
    with pytest.raises(CompressError, match=message):
        Budget(**limits)


def test_counts_beyond_64_bits_are_exact():
    space = get_space("otolite-small")
    limits = Budget(params=10**9, macs=10**12)
    assert count_within(space, limits) == space.size() > 2 * 10**15


def test_an_elastic_extractor_takes_the_multiply_accumulates_down_where_the_paper_cannot():
    fixed, elastic = get_space("lighthubert-small"), get_space("otolite-small")
    assert least_of(fixed, macs) > 2.8e9  # specs 0.5: its extractor alone takes 2.45e9
    assert least_of(elastic, macs) < 0.25 * least_of(fixed, macs)
    assert least_of(elastic, size) < least_of(fixed, size)
