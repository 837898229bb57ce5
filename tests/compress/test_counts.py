"""Numbers as people type them and as they are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.counts import parse_count, short_count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("30M", 30_000_000),
        ("400k", 400_000),
        ("1.5M", 1_500_000),
        ("0.5k", 500),
        ("2G", 2_000_000_000),
        ("12500000", 12_500_000),
        ("94.7M", 94_700_000),
        ("0", 0),
    ],
)
def test_suffixes_are_decimal_as_in_papers(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "M", "30X", "30m", "30 M", "-30M", "1e6", "30MB", "1,000", "1.M", ".5M", "٣M", "3M\n"],
)
def test_anything_else_is_refused_with_what_was_typed(text):
    with pytest.raises(ValueError, match="expected a count such as 30M or 12500000") as caught:
        parse_count(text)
    assert repr(text) in str(caught.value)


@given(st.integers(0, 10**15))
def test_a_plain_number_is_itself(number):
    assert parse_count(str(number)) == number


@given(st.integers(0, 10**6))
def test_a_suffix_multiplies_exactly(number):
    assert parse_count(f"{number}M") == number * 10**6
    assert parse_count(f"{number}k") == number * 10**3


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (999, "999"), (1_000, "1k"), (350_000, "350k"), (999_600, "1M"),
     (1_234_567, "1.23M"), (30_000_000, "30M"), (2_450_000_000, "2.45G"), (0.5, "0.5")],
)  # fmt: skip
def test_a_count_is_written_short(value, text):
    assert short_count(value) == text


@given(st.integers(0, 10**11), st.integers(3, 6))
def test_a_short_count_reads_back_as_the_rounded_number(value, digits):
    read = parse_count(short_count(value, digits))
    assert read == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))
