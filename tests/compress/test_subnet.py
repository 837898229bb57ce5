import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from compress.subnet import Subnet, SubnetError

WRITTEN = {"space": "tiny", "embed_dim": 8, "num_heads": [1, 2], "ffn_dim": [8, 20]}


@given(
    embed_dim=st.integers(1, 999),
    layers=st.lists(st.tuples(st.integers(1, 16), st.integers(1, 4096)), min_size=1, max_size=12),
)
def test_what_is_written_reads_back_equal_with_an_equal_hash(embed_dim, layers):
    heads, widths = zip(*layers, strict=True)
    subnet = Subnet(space="tiny", embed_dim=embed_dim, num_heads=heads, ffn_dim=widths)
    read = Subnet.from_json(subnet.to_json())
    assert read == subnet
    assert hash(read) == hash(subnet)
    assert read.depth == len(layers)


def test_json_holds_the_four_keys_in_order():
    text = Subnet.from_json(json.dumps(WRITTEN)).to_json()
    assert text == '{"space": "tiny", "embed_dim": 8, "num_heads": [1, 2], "ffn_dim": [8, 20]}'


def test_channels_of_the_feature_extractor_are_written_where_they_were_chosen():
    text = Subnet.from_json(json.dumps({**WRITTEN, "conv_channels": [3, 5]})).to_json()
    assert text.endswith('"conv_channels": [3, 5]}')
    assert Subnet.from_json(text).conv_channels == (3, 5)


def test_an_unknown_key_is_refused_with_the_nearest_name():
    with pytest.raises(SubnetError, match=r"'num_head'.*did you mean 'num_heads'"):
        Subnet.from_json(json.dumps({**WRITTEN, "num_head": [1]}))


def test_a_missing_key_is_named():
    with pytest.raises(SubnetError, match="add ffn_dim"):
        Subnet.from_json(json.dumps({k: v for k, v in WRITTEN.items() if k != "ffn_dim"}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("space", 3),
        ("embed_dim", "8"),
        ("embed_dim", 8.0),
        ("embed_dim", True),
        ("embed_dim", 0),
        ("num_heads", 2),
        ("num_heads", [1, "2"]),
        ("num_heads", [1, -2]),
        ("ffn_dim", [8, None]),
        ("conv_channels", [3, 0]),
        ("conv_channels", 3),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_named_not_converted(key, value):
    with pytest.raises(SubnetError, match=key):
        Subnet.from_json(json.dumps({**WRITTEN, key: value}))


@pytest.mark.parametrize("layers", [([], []), ([1], [8, 8])])
def test_lists_of_different_or_no_layers_are_refused(layers):
    with pytest.raises(SubnetError, match="same number of layers"):
        Subnet.from_json(json.dumps({**WRITTEN, "num_heads": layers[0], "ffn_dim": layers[1]}))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_text_that_is_no_json_object_is_refused(text):
    with pytest.raises(SubnetError, match="JSON"):
        Subnet.from_json(text)


def test_a_subnet_cannot_be_changed():
    subnet = Subnet.from_json(json.dumps(WRITTEN))
    with pytest.raises(AttributeError):
        subnet.embed_dim = 4
    with pytest.raises(ValidationError):
        Subnet(**WRITTEN, depth=2)
