"""Praat's TextGrids, long and short, and those that are none."""

import sys

import pytest

from train.data.textgrids import labels_of
from train.errors import DataError

LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "say ""no"""
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 1
            text = "T,D,s "
        intervals [3]:
            xmin = 1
            xmax = 1.5
            text = "sil"
'''
SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
2
"IntervalTier"
"words"
0
1.5
1
0
1.5
"say ""no"""
"IntervalTier"
"phones"
0
1.5
3
0
0.25
""
0.25
1
"T,D,s "
1
1.5
"sil"
'''


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "a.TextGrid"
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize("text", [LONG, SHORT, LONG.replace("\n", "\r\n")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_labels_are_in_order_with_those_that_are_empty(write, text, encoding):
    path = write(text, encoding)
    assert labels_of(path, "phones") == ["", "T,D,s", "sil"]
    assert labels_of(path, "words") == ['say "no"']


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no TextGrid"),
        ("some text\n" * 9, "is no TextGrid"),
        ("{}", "is no TextGrid"),
        ("[1]", "is no TextGrid"),
        (LONG.replace('"phones"', '"sounds"'), "no tier 'phones' but words, sounds"),
        (LONG.replace("xmin = 0.25", "xmin = 0.2"), "overlap"),
        (LONG.replace("xmax = 0.25", "xmax = late"), "is no TextGrid"),
        (LONG[: LONG.index("intervals [3]")], "'phones' ends early"),
        (SHORT[: SHORT.index('1\n1.5\n"sil"')], "'phones' ends early"),
        (SHORT[: SHORT.index('0\n0.25\n""')], "'phones' ends early"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(write, text, said):
    path = write(text)
    with pytest.raises(DataError, match=said) as raised:
        labels_of(path, "phones")
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", [LONG, SHORT])
def test_a_file_that_ends_anywhere_tells_all_or_nothing(write, text):
    for length in range(0, len(text), 5):
        try:
            found = labels_of(write(text[:length]), "phones")
        except DataError:
            continue
        assert found == ["", "T,D,s", "sil"]


def test_a_tier_of_points_and_a_missing_file_are_refused(write, tmp_path):
    points = '"TextTier"\n"phones"\n0\n1.5\n1\n0.5\n"T"\n'
    with pytest.raises(DataError, match="is of points"):
        labels_of(write(SHORT[: SHORT.index('"IntervalTier"\n"phones"')] + points), "phones")
    with pytest.raises(DataError, match="is missing"):
        labels_of(tmp_path / "b.TextGrid", "phones")


def test_a_reader_that_is_not_installed_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "praatio", None)
    with pytest.raises(DataError, match=r"pip install otolite\[train\]"):
        labels_of(write(LONG), "phones")
