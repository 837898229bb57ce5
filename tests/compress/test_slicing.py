"""Cuts against index lists written plainly from the rules, on arrays of random numbers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_spaces import tiny_space

from compress import CompressError
from compress.cost.params import params
from compress.elastic import dimension_names, get_dimension
from compress.elastic._slices import WHOLE, merge
from compress.slicing import slicing_plan
from compress.spaces import get_space
from compress.subnet import Subnet
from compress.tensor_axes import FIXED, TENSOR_AXES


def state_of(config, rng):
    """A state dict of the dense encoder: every tensor random."""
    embed, channels = config.embed_dim, config.conv_layers[-1].channels
    shapes = {"mask_embedding": (embed,)}
    inputs = 1
    for i, conv in enumerate(config.conv_layers):
        name = f"feature_extractor.{i}"
        shapes[f"{name}.conv.weight"] = (conv.channels, inputs, conv.kernel)
        if config.conv_bias:
            shapes[f"{name}.conv.bias"] = (conv.channels,)
        if config.conv_norm == "layer" or i == 0:
            shapes[f"{name}.norm.weight"] = shapes[f"{name}.norm.bias"] = (conv.channels,)
        inputs = conv.channels
    linears = {"feature_projection": (embed, channels)}
    norms = {"feature_norm": channels, "norm": embed}
    for l in range(config.num_layers):  # noqa: E741  the layer, as in tensor names
        attention, ffn = config.num_heads[l] * config.head_dim, config.ffn_dim[l]
        for proj in ("q_proj", "k_proj", "v_proj"):
            linears[f"layers.{l}.attention.{proj}"] = (attention, embed)
        linears[f"layers.{l}.attention.out_proj"] = (embed, attention)
        linears[f"layers.{l}.ffn.up"] = (ffn, embed)
        linears[f"layers.{l}.ffn.down"] = (embed, ffn)
        norms[f"layers.{l}.attention_norm"] = norms[f"layers.{l}.ffn_norm"] = embed
    groups = config.pos_conv_groups
    shapes["pos_conv.conv.weight"] = (embed, embed // groups, config.pos_conv_kernel)
    shapes["pos_conv.conv.bias"] = (embed,)
    for name, shape in linears.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
    for name, width in norms.items():
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def cut(space, subnet, full):
    return {
        name: piece.take(full[piece.source], np.concatenate)
        for name, piece in slicing_plan(space, subnet).items()
    }


def hidden_indices(embed_dim, ffn_dim, block):
    """Spec 6.2: E of each of the first floor(r) blocks, the rest from the next."""
    ratio = ffn_dim / embed_dim
    indices = [b * block + e for b in range(int(ratio)) for e in range(embed_dim)]
    rest = round((ratio - int(ratio)) * embed_dim)
    return indices + [int(ratio) * block + e for e in range(rest)]


@given(
    seed=st.integers(0, 10**6),
    conv_norm=st.sampled_from(["layer", "group"]),
    conv_bias=st.booleans(),
    elastic=st.booleans(),
)
def test_every_tensor_of_the_dense_subnet_is_cut_by_the_rules(seed, conv_norm, conv_bias, elastic):
    space = tiny_space(conv_norm=conv_norm, conv_bias=conv_bias, elastic=elastic)
    rng = np.random.default_rng(seed)
    subnet, full = space.sample(rng), state_of(space.supernet, rng)
    dense = cut(space, subnet, full)

    wanted = state_of(space.config(subnet), rng)
    shapes = {name: tensor.shape for name, tensor in dense.items()}
    assert shapes == {name: tensor.shape for name, tensor in wanted.items()}

    embed = subnet.embed_dim
    for name in ("mask_embedding", "norm.weight", "norm.bias", "pos_conv.conv.bias",
                 "feature_projection.bias"):  # fmt: skip
        np.testing.assert_array_equal(dense[name], full[name][:embed])
    np.testing.assert_array_equal(
        dense["pos_conv.conv.weight"], full["pos_conv.conv.weight"][:embed, : embed // 2, :]
    )
    first, last = subnet.conv_channels or (3, 5)
    np.testing.assert_array_equal(
        dense["feature_projection.weight"], full["feature_projection.weight"][:embed, :last]
    )
    for name, index in {
        "feature_extractor.0.conv.weight": np.ix_(range(first), range(1), range(4)),
        "feature_extractor.0.norm.bias": np.ix_(range(first)),
        "feature_extractor.1.conv.weight": np.ix_(range(last), range(first), range(3)),
        "feature_norm.weight": np.ix_(range(last)),
    }.items():
        np.testing.assert_array_equal(dense[name], full[name][index])
        if not elastic:
            assert dense[name] is full[name]
    for layer, source in enumerate(space.kept_layers(subnet.depth)):
        new, old = f"layers.{layer}.", f"layers.{source}."
        attention = 2 * subnet.num_heads[layer]
        hidden = hidden_indices(embed, subnet.ffn_dim[layer], block=8)
        for name, index in {
            "attention.q_proj.weight": np.ix_(range(attention), range(embed)),
            "attention.k_proj.weight": np.ix_(range(attention), range(embed)),
            "attention.v_proj.weight": np.ix_(range(attention), range(embed)),
            "attention.v_proj.bias": np.ix_(range(attention)),
            "attention.out_proj.weight": np.ix_(range(embed), range(attention)),
            "attention.out_proj.bias": np.ix_(range(embed)),
            "attention_norm.weight": np.ix_(range(embed)),
            "ffn.up.weight": np.ix_(hidden, range(embed)),
            "ffn.up.bias": np.ix_(hidden),
            "ffn.down.weight": np.ix_(range(embed), hidden),
            "ffn.down.bias": np.ix_(range(embed)),
            "ffn_norm.bias": np.ix_(range(embed)),
        }.items():
            np.testing.assert_array_equal(dense[new + name], full[old + name][index])


@given(
    seed=st.integers(0, 10**6),
    conv_norm=st.sampled_from(["layer", "group"]),
    elastic=st.booleans(),
)
def test_the_cut_tensors_hold_as_many_numbers_as_were_counted(seed, conv_norm, elastic):
    space = tiny_space(conv_norm=conv_norm, conv_bias=True, elastic=elastic)
    rng = np.random.default_rng(seed)
    subnet = space.sample(rng)
    dense = cut(space, subnet, state_of(space.supernet, rng))
    uncut_mask = space.supernet.embed_dim - subnet.embed_dim
    assert sum(tensor.size for tensor in dense.values()) == params(space, subnet) - uncut_mask


def test_the_full_network_is_not_cut_at_all():
    space = get_space("lighthubert-base")
    for name, piece in slicing_plan(space, space.largest()).items():
        assert piece.source == name
        assert all(kept == WHOLE for kept in piece.axes)


def test_a_shallow_subnet_takes_its_layers_from_the_kept_ones():
    space = get_space("lighthubert-small")
    subnet = Subnet(space=space.name, embed_dim=256, num_heads=(4,) * 10, ffn_dim=(768,) * 10)
    plan = slicing_plan(space, subnet)
    sources = [plan[f"layers.{layer}.ffn.up.weight"].source for layer in range(10)]
    assert sources == [f"layers.{k}.ffn.up.weight" for k in (0, 1, 2, 3, 4, 5, 6, 8, 9, 10)]


def test_each_axis_is_claimed_by_one_dimension_and_each_claim_is_used():
    claimed = [axis for name in dimension_names() for axis in get_dimension(name).AXES]
    assert len(claimed) == len(set(claimed))
    used = {axis for axes in TENSOR_AXES.values() for axis in axes} - {FIXED}
    assert used | {"layer"} == set(claimed)


def test_dimensions_are_found_by_file_name():
    assert dimension_names() == ("conv_channels", "depth", "embed_dim", "ffn_dim", "num_heads")
    with pytest.raises(CompressError, match="did you mean 'ffn_dim'"):
        get_dimension("ffn_dims")


@given(bounds=st.lists(st.integers(0, 40), min_size=2, max_size=12, unique=True))
def test_merged_slices_keep_the_same_indices_in_order(bounds):
    ends = sorted(bounds)
    ranges = [(a, b) for a, b in pairwise(ends) if (a + b) % 3]
    indices = [i for a, b in ranges for i in range(a, b)]
    slices = merge(ranges, 40)
    assert [i for kept in slices for i in range(40)[kept]] == indices
    assert all(a.stop < b.start for a, b in pairwise(slices))
