"""Results for people: tables of rows that do not all have the same keys."""

from compress.printing import show


def test_a_row_that_lacks_a_key_is_blank_there_and_numbers_stay_in_their_column(capsys):
    rows = [{"form": "stream", "tolerance": 0.5}, {"form": "offline", "tolerance": 0.25, "snr": 31}]
    show({"verified": [*rows, {"form": "last", "tolerance": 0.125}]}, False)
    assert capsys.readouterr().out.splitlines() == [
        "verified",
        "  form     tolerance  snr",
        "  stream       0.500",
        "  offline      0.250   31",
        "  last         0.125",
    ]
