"""Experts' scores of pronunciation."""

import gzip
import json
from collections import Counter

import pytest

from train.data.arpabet import PHONES
from train.data.scores import SentenceScores, WordScores, find_scores, read_scores
from train.errors import DataError


def told(**changes):
    """A sentence as it is published, with these changes to its only word."""
    word = {
        "text": "BEAR", "accuracy": 6, "stress": 10, "total": 6, "phones": "B EH0 R",
        "phones-accuracy": [2.0, 1.0, None],
    } | changes  # fmt: skip
    return {
        "text": "BEAR", "accuracy": 8, "completeness": 10.0, "fluency": 9, "prosodic": 9,
        "total": 8, "words": [word],
    }  # fmt: skip


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(document).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["scores.json", "resource/scores.json.gz"])
def test_published_scores_are_read(tmp_path, name):
    found = read_scores(write(tmp_path / name, {"000010011": told()}))
    word = WordScores(
        text="BEAR",
        phones=("B", "EH", "R"),
        phone_scores=(2.0, 1.0, None),
        accuracy=6.0,
        stress=10.0,
        total=6.0,
    )
    assert found == {
        "000010011": SentenceScores(
            text="BEAR",
            accuracy=8.0,
            completeness=10.0,
            fluency=9.0,
            prosodic=9.0,
            total=8.0,
            words=(word,),
        )
    }


def test_a_list_of_phones_and_more_than_is_published_are_read(tmp_path):
    document = {"a": told(phones=["B", "EH1", "R"], mispronunciations=[]) | {"speaker": "0001"}}
    (word,) = read_scores(write(tmp_path / "scores.json", document))["a"].words
    assert word.phones == ("B", "EH", "R")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"phones-accuracy": [2.0, 1.0]}, "'BEAR' has 3 phones and 2 scores"),
        ({"phones-accuracy": [2.0, 2.2, 2.0]}, "words.0.phones-accuracy.1"),
        ({"phones-accuracy": [2.0, "2", 2.0]}, "words.0.phones-accuracy.1"),
        ({"accuracy": -1}, "words.0.accuracy"),
        ({"stress": 11}, "words.0.stress"),
        ({"total": None}, "words.0.total"),
        ({"total": float("nan")}, "words.0.total"),
        ({"phones": "B AX R"}, "a phone 'AX' that ARPAbet lacks"),
        ({"phones": 3}, "words.0.phones"),
    ],
)
def test_scores_that_cannot_be_right_are_named(tmp_path, changes, said):
    path = write(tmp_path / "scores.json", {"a": told(), "b": told(**changes)})
    with pytest.raises(DataError, match=rf"scores of 'b' cannot be right.*{said}"):
        read_scores(path)


def test_a_score_that_is_left_out_is_named(tmp_path):
    document = {"a": {key: value for key, value in told().items() if key != "fluency"}}
    with pytest.raises(DataError, match=r"'a' cannot be right \(fluency: Field required"):
        read_scores(write(tmp_path / "scores.json", document))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("scores.json", b"{"),
        ("scores.json", b"\xff\xfe\xfa"),
        ("scores.json", b"[]"),
        ("scores.json.gz", b"{}"),
        ("scores.json.gz", gzip.compress(b"{}", mtime=0)[:-9]),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match="is no file of scores"):
        read_scores(tmp_path / name)


def test_the_file_is_found_where_the_corpus_has_it(tmp_path):
    with pytest.raises(DataError, match="has no scores of experts"):
        find_scores(tmp_path)
    rebuilt = write(tmp_path / "speechocean762/resource/scores_rebuilt.json.gz", {})
    assert find_scores(tmp_path) == rebuilt
    published = write(tmp_path / "speechocean762/resource/scores.json", {})
    assert find_scores(tmp_path) == published
    with pytest.raises(DataError, match="is missing"):
        read_scores(tmp_path / "scores.json")


@pytest.mark.real_audio
def test_the_real_scores_are_as_many_and_as_high_as_told(real_data):
    root = real_data / "speechocean762"
    scores = read_scores(find_scores(root))
    sizes, histograms, unknown = {}, {}, 0
    for partition in ("train", "test"):
        chosen = [scores[path.stem] for path in (root / partition).rglob("*.opus")]
        words = [word for sentence in chosen for word in sentence.words]
        phones = [score for word in words for score in word.phone_scores]
        sizes[partition] = (len(chosen), len(words), len(phones))
        histograms[partition] = Counter(phones)
        unknown += phones.count(None)
        assert {phone for word in words for phone in word.phones} <= set(PHONES)
        assert {word.stress for word in words} == {5.0, 10.0}
    assert sizes == {"train": (2_500, 15_849, 47_076), "test": (2_080, 13_222, 39_274)}
    assert (histograms["train"][2.0], histograms["train"][0.0]) == (37_766, 1_328)
    assert (histograms["test"][2.0], histograms["test"][0.0]) == (31_742, 856)
    assert unknown == 32
