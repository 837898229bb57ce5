"""The table of an export: ours is read, and what a stranger wrote there harms nobody."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.verified import Cell, read_table, table_lines

CELL = Cell(
    file="model.onnx",
    engine="onnxruntime 1.0",
    precision="int8-static",
    form="offline",
    chunk_samples="800",
    against="torch",
    largest_difference=3e-3,
    tolerance=5e-3,
    snr_db=31.25,
)
STREAM = dataclasses.replace(
    CELL, form="sliding_window", chunk_samples="0 to 9", against="offline", snr_db=None
)


def test_a_table_is_read_as_it_was_written() -> None:
    rows = json.loads(json.dumps([CELL.to_dict(), STREAM.to_dict()]))
    assert "snr_db" not in rows[1]
    assert read_table({"verified": rows}) == (CELL, STREAM)


def test_a_later_versions_further_keys_are_passed_over() -> None:
    assert read_table({"verified": [{**CELL.to_dict(), "energy_mj": 3}]}) == (CELL,)


@pytest.mark.parametrize(
    "change",
    [
        {"file": "model.onnx\x1b[2J"},
        {"engine": ""},
        {"form": "x" * 201},
        {"precision": 8},
        {"tolerance": "1e-5"},
        {"tolerance": 10**400},
        {"largest_difference": True},
        {"snr_db": [31]},
    ],
)
def test_a_row_that_is_not_ours_makes_no_table(change: dict[str, object]) -> None:
    assert read_table({"verified": [CELL.to_dict(), {**CELL.to_dict(), **change}]}) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON)
def test_anything_else_is_no_table_and_no_fault(value: object) -> None:
    assert read_table({"verified": value}) == ()
    assert read_table({"verified": [{**CELL.to_dict(), "tolerance": value}]}) in (
        (),
        (dataclasses.replace(CELL, tolerance=value),),  # type: ignore[arg-type]
    )


def test_an_older_bundle_has_none() -> None:
    assert read_table({"test": {"accuracy": 0.9}}) == ()


def test_the_rows_stand_in_columns_under_one_head() -> None:
    head, offline, stream = table_lines([CELL, STREAM])
    assert head.split() == [
        "graph", "engine", "precision", "form", "samples", "against",
        "difference", "at", "most", "SNR", "dB",
    ]  # fmt: skip
    assert offline.index("offline") == stream.index("sliding_window") == head.index("form")
    assert offline.endswith("3.0e-03  5.0e-03    31.2")
    assert stream.endswith("3.0e-03  5.0e-03")


def test_a_difference_passes_up_to_the_tolerance_and_no_number_passes_nothing() -> None:
    assert dataclasses.replace(CELL, largest_difference=5e-3).passed
    assert not dataclasses.replace(CELL, largest_difference=5.1e-3).passed
    assert not dataclasses.replace(CELL, largest_difference=math.nan).passed
    assert not dataclasses.replace(CELL, largest_difference=math.inf).passed


def test_a_cell_says_which_it_is() -> None:
    assert CELL.place == "model.onnx on onnxruntime 1.0, int8-static, offline on 800 samples"
    assert STREAM.place.endswith("sliding_window in blocks of 0 to 9 samples")
