"""Which cuts and labels a run can use."""

from pathlib import Path

import pytest
from lhotse import CutSet

from train.data.corpus import read_corpus
from train.data.selection import check_labels, labels_of, partition_of
from train.errors import DataError

ROWS = [("yes", "train"), ("yes", "train"), ("no", "train"), ("no", "train"), ("up", "train"),
        ("yes", "valid"), ("no", "test")]  # fmt: skip


@pytest.fixture
def cuts(tmp_path: Path) -> CutSet:
    lines = ["path,label,speaker,split,duration"]
    for number, (label, split) in enumerate(ROWS):
        (tmp_path / f"{number}.wav").touch()
        lines.append(f"{number}.wav,{label},speaker{number},{split},1.0")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return read_corpus(tmp_path)


def test_a_partition_holds_its_own_cuts_alone(cuts):
    assert [cut.supervisions[0].text for cut in partition_of(cuts, "valid")] == ["yes"]


def test_a_label_needs_its_clips_to_be_a_class(cuts):
    train = partition_of(cuts, "train")
    assert labels_of(train, min_clips=1) == ("no", "up", "yes")
    assert labels_of(train, min_clips=2) == ("no", "yes")


def test_fewer_than_two_classes_are_refused(cuts):
    with pytest.raises(DataError, match="two labels or more with 3 clips each"):
        labels_of(partition_of(cuts, "train"), min_clips=3)


def test_a_label_that_nobody_says_is_named_with_the_nearest(cuts):
    check_labels(["yes", "up"], cuts)
    with pytest.raises(DataError, match="labelled 'yess': did you mean 'yes'"):
        check_labels(["yes", "yess"], cuts)
