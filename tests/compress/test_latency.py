"""A subnet's latency from a table of blocks: additive, exact, and only for the table's space."""

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_spaces import every_subnet, tiny_space

from compress import CompressError
from compress.cost import total
from compress.cost.latency import DeviceTable, blocks_of, conv_choices, definition, space_blocks
from compress.spaces import get_space, space_names

OVERHEAD_NS = 1_000


def raw_table(space, seed=0):
    """A table as the device writes it, with times that tell any two blocks apart."""
    rng = np.random.default_rng(seed)
    keys = space_blocks(space)
    times = rng.choice(10**6, size=len(keys), replace=False) + OVERHEAD_NS // 2
    return {
        "schema_version": 1,
        "space": space.name,
        "definition": definition(space),
        "window_samples": 16_000,
        "threads": 1,
        "rounds": 5,
        "machine": "Linux aarch64",
        "processor": "Cortex-A72",
        "cores": 4,
        "engine": "onnxruntime 1.32.0",
        "date": "2026-01-01T00:00:00+00:00",
        "overhead_ns": OVERHEAD_NS,
        "blocks": {
            key: {"median_ns": int(time), "p90_ns": int(time) + 9}
            for key, time in zip(keys, times, strict=True)
        },
    }


@pytest.fixture
def write(tmp_path):
    def write(raw):
        path = tmp_path / "table.json"
        path.write_text(raw if isinstance(raw, str) else json.dumps(raw))
        return path

    return write


@pytest.fixture
def table(write):
    return DeviceTable.read(write(raw_table(tiny_space())))


def plain(space, subnet, raw):
    """The sum, written out block by block."""

    def net(key):
        return max(0, raw["blocks"][key]["median_ns"] - raw["overhead_ns"])

    total = raw["overhead_ns"] + net("input")
    before = 1
    for index, conv in enumerate(space.config(subnet).conv_layers):
        total += net(f"conv.{index}.{before}.{conv.channels}")
        before = conv.channels
    total += net(f"projection.{before}.{subnet.embed_dim}") + net(f"positions.{subnet.embed_dim}")
    for heads, ffn in zip(subnet.num_heads, subnet.ffn_dim, strict=True):
        total += net(f"attention.{subnet.embed_dim}.{heads}") + net(f"ffn.{subnet.embed_dim}.{ffn}")
    return total


@pytest.mark.parametrize("name", space_names())
def test_a_latency_is_its_fixed_part_and_its_layers_and_nothing_else(name, write):
    space, rng = get_space(name), np.random.default_rng(0)
    raw = raw_table(space)
    table = DeviceTable.read(write(raw))
    table.check(space)
    for subnet in (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(10))):
        dense = space.config(subnet)
        latency = total(table, space, subnet)
        assert isinstance(latency, int)
        assert latency == plain(space, subnet, raw)
        assert latency == table.rest(space.supernet, dense) + sum(
            table.layer(dense, heads, ffn)
            for heads, ffn in zip(subnet.num_heads, subnet.ffn_dim, strict=True)
        )


@pytest.mark.parametrize("elastic", [False, True])
def test_the_blocks_of_a_space_are_those_of_its_subnets(elastic):
    space = tiny_space(num_layers=2, elastic=elastic)
    used = {key for subnet in every_subnet(space) for key in blocks_of(space.config(subnet))}
    assert set(space_blocks(space)) == used
    assert len(space_blocks(space)) == len(used)


def test_conv_choices_are_paired_with_those_of_the_layer_before():
    space = replace(tiny_space(), conv_channels=((2, 3), (4, 5)))
    keys = [key for key in space_blocks(space) if key.startswith(("conv", "projection"))]
    assert keys == [
        *("conv.0.1.2", "conv.0.1.3"),
        *("conv.1.2.4", "conv.1.2.5", "conv.1.3.4", "conv.1.3.5"),
        *("projection.4.4", "projection.5.4", "projection.4.8", "projection.5.8"),
    ]


def test_a_conv_layer_has_the_channels_of_its_supernet():
    assert conv_choices(tiny_space()) == ((3,), (5,))
    assert conv_choices(tiny_space(elastic=True)) == ((1, 3), (2, 3, 5))


@settings(deadline=None)
@given(median_ns=st.integers(1, 10**12), overhead_ns=st.integers(1, 10**12))
def test_no_block_takes_less_than_nothing(median_ns, overhead_ns):
    space = tiny_space()
    raw = raw_table(space)
    values = {key: raw[key] for key in raw if key not in ("blocks", "overhead_ns")}
    blocks = {key: {"median_ns": median_ns, "p90_ns": median_ns} for key in raw["blocks"]}
    table = DeviceTable(**values, overhead_ns=overhead_ns, blocks=blocks)
    config = space.config(space.smallest())
    expected = overhead_ns + len(blocks_of(config)) * max(0, median_ns - overhead_ns)
    assert len(blocks_of(config)) == len(set(blocks_of(config)))
    assert total(table, space, space.smallest()) == expected


def test_a_block_that_was_not_measured_is_named(table):
    with pytest.raises(CompressError, match=r"no block 'attention\.8\.7'.*compress blocks tiny"):
        table.layer(tiny_space().sized(8, ()), 7, 8)
    other = replace(tiny_space(), conv_channels=((2, 3), (5,)))
    with pytest.raises(CompressError, match=r"no block 'conv\.0\.1\.2'"):
        table.rest(other.supernet, other.sized(8, (2, 5)))


def test_a_table_is_for_its_own_space_alone(table):
    table.check(tiny_space())
    with pytest.raises(CompressError, match=r"'tiny'.* 'otolite-tiny'.*compress blocks otolite-ti"):
        table.check(get_space("otolite-tiny"))


@pytest.mark.parametrize(
    "change",
    [
        lambda space: {"num_heads": (1, 2, 3)},
        lambda space: {"supernet": dataclasses.replace(space.supernet, conv_norm="group")},
        lambda space: {"supernet": dataclasses.replace(space.supernet, pos_conv_kernel=4)},
    ],
)
def test_another_definition_under_the_same_name_is_told(table, change):
    space = tiny_space()
    other = dataclasses.replace(space, **change(space))
    with pytest.raises(CompressError) as fault:
        table.check(other)
    assert definition(space) in str(fault.value)
    assert definition(other) in str(fault.value)
    assert "compress blocks tiny" in str(fault.value)


def test_a_missing_block_is_told(write):
    raw = raw_table(tiny_space())
    del raw["blocks"]["positions.4"], raw["blocks"]["ffn.8.20"]
    with pytest.raises(CompressError, match=r"lacks 2 of the blocks .* such as 'positions\.4'"):
        DeviceTable.read(write(raw)).check(tiny_space())


def test_a_table_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CompressError, match=r"no device table .*table\.json\. Make a table: comp"):
        DeviceTable.read(tmp_path / "table.json")
    with pytest.raises(CompressError, match="is no device table"):
        DeviceTable.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", "7", '{"schema_version": 1}', "[" * 10**5])
def test_a_file_that_is_no_table_is_told(write, text):
    with pytest.raises(CompressError, match=r"is no device table.*python -m runtime bench"):
        DeviceTable.read(write(text))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema_version 2, and 1 is what"),
        ({"overhead_ns": 0}, "overhead_ns of the device table is not valid"),
        ({"overhead_ns": 1.5}, "overhead_ns of the device table is not valid"),
        ({"engine": 3}, "engine of the device table is not valid"),
        ({"blocks": {"input": {"median_ns": "9", "p90_ns": 9}}}, r"blocks\.input\.median_ns"),
        ({"blocks": {"input": {"median_ns": 9}}}, r"blocks\.input\.p90_ns"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_a_damaged_value_is_named(write, changes, message):
    with pytest.raises(CompressError, match=message) as fault:
        DeviceTable.read(write(raw_table(tiny_space()) | changes))
    assert "table.json" in str(fault.value)


@settings(deadline=None)
@given(place=st.integers(0, 10**9), byte=st.integers(0, 255))
def test_any_damaged_byte_is_refused_or_read(tmp_path_factory, place, byte):
    text = bytearray(json.dumps(raw_table(tiny_space())).encode())
    text[place % len(text)] = byte
    path = tmp_path_factory.mktemp("damaged") / "table.json"
    path.write_bytes(text)
    try:
        assert DeviceTable.read(path).window_samples > 0
    except CompressError:
        return
