"""Numbers that the LightHuBERT authors' own code gives (table run on their release)."""

import pytest

from compress.cost.params import params
from compress.named_subnets import find_subnet
from compress.slicing import slicing_plan
from compress.spaces import get_space
from compress.subnet import Subnet

HEADS_MIXED_BASE = (8, 10, 8, 10, 12, 8, 10, 8, 8, 10, 12, 10)
FFN_MIXED_BASE = tuple(3072 if wide else 2688 for wide in (1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0))
HEADS_MIXED_SMALL = (4, 8, 4, 4, 6, 6, 4, 8, 4, 8, 6, 8)
FFN_MIXED_SMALL = (1792, 1536, 1536, 2048, 1792, 1536, 1536, 2048, 1792, 2048, 2048, 2048)

COUNTS = [
    ("lighthubert-base", 768, (12,) * 12, (3072,) * 12, 94_377_728),
    ("lighthubert-base", 640, (10,) * 12, (2560,) * 12, 66_897_664),
    ("lighthubert-base", 512, (8,) * 12, (1792,) * 12, 41_249_536),
    ("lighthubert-base", 768, HEADS_MIXED_BASE, FFN_MIXED_BASE, 84_932_480),
    ("lighthubert-small", 512, (8,) * 12, (2048,) * 12, 44_398_336),
    ("lighthubert-small", 384, (6,) * 12, (1536,) * 12, 26_879_744),
    ("lighthubert-small", 256, (4,) * 10, (768,) * 10, 11_449_088),
    ("lighthubert-small", 512, HEADS_MIXED_SMALL, FFN_MIXED_SMALL, 38_099_072),
    ("lighthubert-small", 256, (4,) * 10, (1024,) * 10, 12_762_368),
    ("lighthubert-small", 256, (4,) * 11, (1024,) * 11, 13_552_128),
    ("lighthubert-small", 256, (4,) * 12, (1024,) * 12, 14_341_888),
    ("lighthubert-small", 384, (6,) * 10, (1536,) * 10, 23_330_816),
    ("lighthubert-small", 384, (6,) * 11, (1536,) * 11, 25_105_280),
    ("lighthubert-small", 512, (8,) * 10, (2048,) * 10, 38_093_568),
    ("lighthubert-small", 512, (8,) * 11, (2048,) * 11, 41_245_952),
]


@pytest.mark.parametrize(("space", "embed_dim", "heads", "ffn", "expected"), COUNTS)
def test_parameters_equal_the_authors_count(space, embed_dim, heads, ffn, expected):
    subnet = Subnet(space=space, embed_dim=embed_dim, num_heads=heads, ffn_dim=ffn)
    assert params(get_space(space), subnet) == expected


def test_all_fifteen_counts_are_here():
    assert len(COUNTS) == 15


@pytest.mark.parametrize(
    ("name", "subnet", "printed"),
    [
        ("lighthubert-base", "largest", 94),
        ("lighthubert-base", "a_base", 67),
        ("lighthubert-base", "smallest", 41),
        ("lighthubert-small", "largest", 44),
        ("lighthubert-small", "a_small", 27),
        ("lighthubert-small", "smallest", 11),
    ],
)
def test_named_subnets_have_the_millions_that_the_authors_print(name, subnet, printed):
    space = get_space(name)
    assert round(params(space, find_subnet(subnet, space)) / 1e6) == printed


@pytest.mark.parametrize(
    ("name", "size"),
    [("lighthubert-base", 6_530_347_008), ("lighthubert-small", 951_892_141_473)],
)
def test_spaces_have_the_size_that_the_authors_print(name, size):
    assert get_space(name).size() == size


@pytest.mark.parametrize(
    ("depth", "dropped"),
    [
        (12, set()),
        (11, {11}),
        (10, {7, 11}),
        (9, {3, 7, 11}),
        (8, {3, 7, 10, 11}),
        (7, {3, 6, 7, 10, 11}),
        (6, {2, 3, 6, 7, 10, 11}),
    ],
)
def test_a_depth_keeps_the_layers_that_the_authors_keep(depth, dropped):
    kept = get_space("lighthubert-small").kept_layers(depth)
    assert kept == tuple(layer for layer in range(12) if layer not in dropped)


@pytest.mark.parametrize(
    ("name", "embed_dim", "ffn", "ranges"),
    [
        ("lighthubert-small", 384, 1344, [(0, 383), (768, 1151), (1536, 1919), (2304, 2495)]),
        ("lighthubert-base", 640, 2560, [(0, 639), (768, 1407), (1536, 2175), (2304, 2943)]),
        ("lighthubert-base", 768, 2688, [(0, 2687)]),
    ],
)
def test_feed_forward_units_come_from_the_blocks_that_the_authors_take(
    name, embed_dim, ffn, ranges
):
    space = get_space(name)
    subnet = Subnet(space=name, embed_dim=embed_dim, num_heads=(8,) * 12, ffn_dim=(ffn,) * 12)
    plan = slicing_plan(space, subnet)
    for layer in (0, 11):
        up = plan[f"layers.{layer}.ffn.up.weight"].axes[0]
        down = plan[f"layers.{layer}.ffn.down.weight"].axes[1]
        assert [(kept.start, kept.stop - 1) for kept in up] == ranges  # the authors' ends count
        assert down == up
