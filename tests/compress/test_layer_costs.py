"""The law of the breakdown: its parts add up to the totals, and are the model's own tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_spaces import every_subnet, tiny_space

from compress.cost.layers import layer_costs
from compress.cost.macs import macs
from compress.cost.params import params
from compress.spaces import get_space, space_names
from compress.subnet import SubnetError
from train.models.wav2vec2 import Wav2Vec2Encoder


def added(space, subnet):
    parts = layer_costs(space, subnet)
    return sum(part.params for part in parts), sum(part.macs for part in parts)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(space_names()), st.integers(0, 10_000))
def test_the_parts_of_a_subnet_add_up_to_it(name, seed):
    space = get_space(name)
    subnet = space.sample(np.random.default_rng(seed))
    expected = params(space, subnet), macs(space.config(subnet)).total
    assert added(space, subnet) == expected


@pytest.mark.parametrize("conv_norm", ["layer", "group"])
@pytest.mark.parametrize("conv_bias", [False, True])
def test_they_add_up_for_every_norm_and_bias(conv_norm, conv_bias):
    space = tiny_space(2, conv_norm, conv_bias)
    for subnet in every_subnet(space):
        expected = params(space, subnet), macs(space.config(subnet)).total
        assert added(space, subnet) == expected


OWNERS = {
    "conv": "feature_extractor.{}.",
    "projection": "feature_norm. feature_projection.",
    "mask embedding": "mask_embedding",
    "positions": "pos_conv. norm.",
    "layer": "layers.{}.",
}
"""Modules of the dense encoder that hold a part, by the part's name without its number."""


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(space_names()), st.integers(0, 10_000))
def test_each_part_has_the_parameters_of_its_modules(name, seed):
    space = get_space(name)
    subnet = space.sample(np.random.default_rng(seed))
    with torch.device("meta"):
        dense = Wav2Vec2Encoder(space.config(subnet))
    tensors = dict(dense.named_parameters())
    for part in layer_costs(space, subnet):
        kind, _, number = part.name.rpartition(" ")
        kind, index = (kind, int(number) - 1) if number.isdecimal() else (part.name, None)
        owners = tuple(OWNERS[kind].format(index).split())
        mine = [name for name in tensors if name.startswith(owners)]
        held = sum(tensors.pop(name).numel() for name in mine)
        # The authors count the mask embedding at the supernet's width; a dense model cuts it.
        uncut = space.supernet.embed_dim - subnet.embed_dim if kind == "mask embedding" else 0
        assert part.params == held + uncut, part.name
    assert not tensors, "a parameter that no part tells of"


def test_each_part_says_its_sizes():
    space = get_space("otolite-tiny")
    parts = {part.name: part for part in layer_costs(space, space.smallest())}
    assert list(parts)[:2] == ["conv 1", "conv 2"]
    assert list(parts)[7:11] == ["projection", "mask embedding", "positions", "layer 1"]
    assert parts["conv 1"].sizes == {"channels": 32, "kernel": 10, "stride": 5}
    # (16,000 - 10) // 5 + 1 outputs, each of ten taps in 32 channels
    assert parts["conv 1"].macs == 3_199 * 10 * 32
    assert parts["layer 4"].sizes == {"heads": 2, "ffn_dim": 128}
    assert parts["mask embedding"].macs == 0


def test_a_subnet_of_another_space_is_refused():
    with pytest.raises(SubnetError, match="otolite-tiny"):
        layer_costs(get_space("lighthubert-small"), get_space("otolite-tiny").smallest())
