"""Which subnets an update trains: the contract of every rule, and what each one promises."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_spaces import tiny_space

from compress import CompressError
from compress.cost.params import params
from compress.distill.sampling import get_sampling, sampling_names
from compress.spaces import get_space, space_names


def drawn(name, space, seed, num_random=2):
    return get_sampling(name).draw(space, np.random.default_rng(seed), num_random=num_random)


@given(
    name=st.sampled_from(sampling_names()),
    space=st.sampled_from([*space_names(), "tiny"]),
    seed=st.integers(0, 999),
    num_random=st.integers(0, 3),
)
def test_a_rule_draws_subnets_of_the_space_and_the_same_from_the_same_seed(
    name, space, seed, num_random
):
    space = tiny_space() if space == "tiny" else get_space(space)
    subnets = drawn(name, space, seed, num_random)
    assert len(subnets) == (2 + num_random if name == "sandwich" else 1)
    for subnet in subnets:
        space.check(subnet)
    assert drawn(name, space, seed, num_random) == subnets


@pytest.mark.parametrize("name", sampling_names())
def test_another_update_draws_other_subnets(name):
    space = get_space("lighthubert-small")
    assert len({drawn(name, space, seed) for seed in range(20)}) == 20


def test_uniform_is_the_papers_way():
    space = get_space("otolite-tiny")
    for seed in range(20):
        assert drawn("uniform", space, seed) == (space.sample(np.random.default_rng(seed)),)


def test_a_sandwich_holds_the_largest_the_smallest_and_draws_between():
    space = get_space("otolite-tiny")
    largest, smallest, *between = drawn("sandwich", space, 3)
    assert (largest, smallest) == (space.largest(), space.smallest())
    rng = np.random.default_rng(3)
    assert between == [space.sample(rng), space.sample(rng)]


def tenths(name, space, draws):
    """Share of draws in each tenth of the range of sizes."""
    sizes = [params(space, drawn(name, space, seed)[0]) for seed in range(draws)]
    span = params(space, space.smallest()), params(space, space.largest())
    return np.histogram(sizes, 10, span)[0] / draws


@pytest.mark.parametrize("name", ["lighthubert-small", "otolite-tiny"])
def test_by_size_trains_small_and_large_subnets_as_often_as_middling_ones(name):
    space = get_space(name)
    shares = tenths("by_size", space, 600)
    # five standard deviations of a share of 600 draws; the granularity of sizes is far below
    assert np.abs(shares - 0.1).max() < 5 * np.sqrt(0.1 * 0.9 / 600)
    assert tenths("uniform", space, 600)[-1] < 0.01  # what it is there for


@given(seed=st.integers(0, 9999))
def test_a_subnet_by_size_cannot_grow_in_a_layer_and_still_fit(seed):
    space = tiny_space()
    (subnet,) = drawn("by_size", space, seed)
    span = params(space, space.smallest()), params(space, space.largest())
    size = int(np.random.default_rng(seed).integers(span[0], span[1] + 1))
    assert params(space, subnet) <= size
    for choices, sizes in (
        (space.num_heads, subnet.num_heads),
        (space.ffn_dims(subnet.embed_dim), subnet.ffn_dim),
    ):
        for low, high in pairwise(choices):
            for layer, value in enumerate(sizes):
                if value == low:
                    field = "num_heads" if choices is space.num_heads else "ffn_dim"
                    raised = {**vars_of(subnet), field: replaced(sizes, layer, high)}
                    assert params(space, type(subnet)(**raised)) > size


def vars_of(subnet):
    names = ("space", "embed_dim", "num_heads", "ffn_dim")
    return {name: getattr(subnet, name) for name in names}


def replaced(sizes, index, value):
    return (*sizes[:index], value, *sizes[index + 1 :])


def test_a_misspelt_rule_gets_the_nearest_name():
    with pytest.raises(CompressError, match="did you mean 'sandwich'"):
        get_sampling("sandwhich")
