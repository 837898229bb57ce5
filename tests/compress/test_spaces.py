from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_spaces import every_subnet, tiny_space

from compress.elastic.depth import kept_layers
from compress.spaces import SpaceError, get_space, space_names
from compress.subnet import SubnetError


def test_size_is_the_number_of_subnets():
    space = tiny_space()
    assert space.size() == len(set(every_subnet(space))) == 2 * (6 + 36 + 216)
    elastic = tiny_space(num_layers=2, elastic=True)
    assert elastic.size() == len(set(every_subnet(elastic))) == 2 * (6 + 36) * 2 * 3


@given(name=st.sampled_from(space_names()), seed=st.integers(0, 999))
def test_a_sampled_subnet_is_of_its_space(name, seed):
    space = get_space(name)
    subnet = space.sample(np.random.default_rng(seed))
    config = space.config(subnet)
    assert config.num_layers == subnet.depth
    assert (config.num_heads, config.ffn_dim) == (subnet.num_heads, subnet.ffn_dim)
    stored = tuple(conv.channels for conv in space.supernet.conv_layers)
    channels = tuple(conv.channels for conv in config.conv_layers)
    assert channels == (subnet.conv_channels or stored)
    assert not config.pos_conv_weight_norm


def test_each_choice_is_sampled_as_often_as_another():
    space = tiny_space(elastic=True)
    rng = np.random.default_rng(0)
    subnets = [space.sample(rng) for _ in range(3000)]
    for drawn, choices in (
        ([subnet.embed_dim for subnet in subnets], space.embed_dim),
        ([subnet.depth for subnet in subnets], space.depth),
        ([subnet.num_heads[-1] for subnet in subnets], space.num_heads),
        ([subnet.conv_channels[1] for subnet in subnets], space.conv_channels[1]),
        ([subnet.ffn_dim[0] / subnet.embed_dim for subnet in subnets], space.ffn_ratio),
    ):
        shares = [np.mean(np.equal(drawn, choice)) for choice in choices]
        assert shares == pytest.approx([1 / len(choices)] * len(choices), abs=0.05)  # 5 sigma


def test_heads_and_ratios_of_a_layer_are_drawn_independently():
    space = tiny_space()
    rng = np.random.default_rng(1)
    first = [
        (s.num_heads[0], s.ffn_dim[0] / s.embed_dim)
        for s in (space.sample(rng) for _ in range(3000))
    ]
    shares = [first.count((h, r)) / 3000 for h in space.num_heads for r in space.ffn_ratio]
    assert shares == pytest.approx([1 / 6] * 6, abs=0.035)  # 5 sigma


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": "other"}, "'other', not 'tiny'"),
        ({"embed_dim": 6}, "embed_dim 6 .* choose one of 4, 8"),
        ({"num_heads": (1, 3)}, r"num_heads\[1\] 3 .* choose one of 1, 2"),
        ({"ffn_dim": (12, 8)}, r"ffn_dim\[0\] 12 .* choose one of 4, 6, 10"),
        ({"num_heads": (1,) * 4, "ffn_dim": (4,) * 4}, "depth 4 .* choose one of 1, 2, 3"),
    ],
)
def test_a_foreign_value_is_refused_with_the_allowed_ones(change, message):
    space = tiny_space()
    subnet = replace(space.smallest(), num_heads=(1, 2), ffn_dim=(4, 6))
    space.check(subnet)
    with pytest.raises(SubnetError, match=message):
        space.check(replace(subnet, **change))


@pytest.mark.parametrize(
    ("elastic", "channels", "message"),
    [
        (True, (3, 4), r"conv_channels\[1\] 4 .* choose one of 2, 3, 5"),
        (True, (), r"must list 2 layers, got \(\)"),
        (False, (3, 5), r"must be left out, got \(3, 5\)"),
    ],
)
def test_foreign_channels_are_refused(elastic, channels, message):
    space = tiny_space(elastic=elastic)
    with pytest.raises(SubnetError, match=message):
        space.check(replace(space.smallest(), conv_channels=channels))


@pytest.mark.parametrize(
    "change",
    [
        {"embed_dim": (8, 4)},
        {"embed_dim": (3, 8)},
        {"embed_dim": (8, 16)},
        {"num_heads": ()},
        {"num_heads": (2, 2)},
        {"num_heads": (1, 4)},
        {"ffn_ratio": (1.0, 1.1)},
        {"ffn_ratio": (1.0, 3.5)},
        {"depth": (0, 1)},
        {"depth": (1, 4)},
        {"conv_channels": ((1, 3),)},
        {"conv_channels": ((1, 3), (2, 6))},
        {"conv_channels": ((1, 3), ())},
    ],
)
def test_choices_that_the_supernet_cannot_hold_are_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        replace(tiny_space(), **change)


@given(num_layers=st.integers(1, 24), data=st.data())
def test_a_shallower_subnet_keeps_a_part_of_a_deeper_ones_layers(num_layers, data):
    depth = data.draw(st.integers(1, num_layers))
    kept = kept_layers(num_layers, depth)
    assert len(kept) == depth
    assert list(kept) == sorted(set(kept))
    assert kept[0] == 0
    if depth < num_layers:
        assert set(kept) < set(kept_layers(num_layers, depth + 1))


def test_layers_that_do_not_form_three_groups_go_from_the_end():
    assert kept_layers(8, 5) == (0, 1, 2, 3, 4)


def test_six_layers_lose_the_last_of_each_pair_first():
    assert kept_layers(6, 5) == (0, 1, 2, 3, 4)
    assert kept_layers(6, 4) == (0, 1, 2, 4)


def test_an_unknown_space_gets_the_nearest_name():
    with pytest.raises(SpaceError, match="did you mean 'lighthubert-small'"):
        get_space("lighthubert_small")
