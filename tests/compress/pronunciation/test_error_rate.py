"""Phone error rate."""

import pytest

from compress.pronunciation.error_rate import PhoneErrors, phone_errors


def test_each_kind_of_edit_is_counted():
    found = phone_errors(["B", "UH", "K", "K", "EY", "S"], ["P", "UH", "K", "EY", "S", "AH"])
    assert found == PhoneErrors(substitutions=1, deletions=1, insertions=1, phones=6)
    assert found.rate == 0.5


@pytest.mark.parametrize(
    ("said", "recognized", "rate"),
    [
        ("K K", "K K", 0.0),
        ("K K", "K", 0.5),
        ("K", "", 1.0),
        ("K", "K AH AH", 2.0),
        ("SIL K SIL", "K", 0.0),
        ("K", "SIL K SIL T", 1.0),
        ("", "K", None),
    ],
)
def test_rate(said, recognized, rate):
    assert phone_errors(said.split(), recognized.split()).rate == rate


def test_the_rate_of_a_set_is_over_all_its_phones():
    long, short = phone_errors(["A"] * 9, ["A"] * 9), phone_errors(["A"], ["B"])
    assert (long + short).rate == 0.1
