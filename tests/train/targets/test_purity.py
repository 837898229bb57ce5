"""Units' quality: closed forms against hand counts, and the laws that any counts obey."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import mutual_info_score

from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.data.cuts import recording_cut, sorted_cuts
from train.data.source import Recordings
from train.errors import DataError
from train.targets.purity import alignments_of, contingency, measure, note, phones_by_frame, quality
from train.targets.units import Units

counts_of = arrays(np.int64, (4, 5), elements=st.integers(0, 30)).filter(lambda c: c.sum() > 0)


def pairs_of(counts):
    """(phone, unit) of every frame."""
    return [
        (row, column) for (row, column), number in np.ndenumerate(counts) for _ in range(number)
    ]


def test_units_that_are_phones_are_perfect():
    found = quality(np.diag([3, 1, 7]))
    assert (found.phone_purity, found.cluster_purity) == (1.0, 1.0)
    assert found.pnmi == pytest.approx(1.0)
    assert (found.frames, found.num_clusters) == (11, 3)


def test_units_that_know_nothing_of_phones_take_no_entropy_away():
    found = quality(np.outer([1, 2, 5], [4, 3, 2, 1]))
    assert found.pnmi == pytest.approx(0.0, abs=1e-12)
    assert found.phone_purity == pytest.approx(5 / 8)  # the most frequent phone
    assert found.cluster_purity == pytest.approx(4 / 10)


def test_a_hand_example():
    # Of eight frames, units 0 and 1 say A and B, and unit 2 says either.
    found = quality(np.array([[3, 0, 1], [0, 3, 1]]))
    assert found.phone_purity == pytest.approx((3 + 3 + 1) / 8)
    assert found.cluster_purity == pytest.approx((3 + 3) / 8)
    # H(phone) = 1 bit; in unit 2, a quarter of the frames, it stays 1 bit, elsewhere it is gone.
    assert found.pnmi == pytest.approx(0.75)


def test_a_single_phone_has_nothing_to_tell():
    assert quality(np.array([[4, 6]])).pnmi == 0.0


def test_no_frame_is_no_quality():
    with pytest.raises(ValueError, match="nothing to measure"):
        quality(np.zeros((2, 3), np.int64))


@given(counts_of)
def test_all_three_are_shares_and_agree_with_sums_over_frames(counts):
    found = quality(counts)
    assert counts.max() / counts.sum() <= found.phone_purity <= 1.0
    assert counts.max() / counts.sum() <= found.cluster_purity <= 1.0
    assert 0.0 <= found.pnmi <= 1.0
    phones, units = zip(*pairs_of(counts), strict=True)
    entropy = mutual_info_score(phones, phones)
    if entropy > 1e-9:
        expected = mutual_info_score(phones, units) / entropy
        assert found.pnmi == pytest.approx(expected, abs=1e-9)


@given(counts_of, st.permutations(range(5)), st.permutations(range(4)))
def test_names_of_units_and_phones_do_not_matter(counts, units, phones):
    renamed, found = quality(counts[phones][:, units]), quality(counts)
    assert renamed.pnmi == pytest.approx(found.pnmi, abs=1e-12)
    assert renamed.phone_purity == found.phone_purity
    assert renamed.cluster_purity == found.cluster_purity


@given(counts_of, st.lists(st.integers(0, 30), min_size=4, max_size=4), st.integers(0, 4))
def test_splitting_a_unit_never_hurts_the_phones_and_never_helps_the_clusters(counts, taken, unit):
    moved = np.minimum(counts[:, unit], taken)
    split = np.column_stack([counts, moved])
    split[:, unit] -= moved
    before, after = quality(counts), quality(split)
    assert after.phone_purity >= before.phone_purity
    assert after.pnmi >= before.pnmi - 1e-9
    assert after.cluster_purity <= before.cluster_purity


@given(counts_of)
def test_counting_pairs_gives_the_counts_back(counts):
    phones, units = zip(*pairs_of(counts), strict=True)
    sequence = np.array(units, np.int16)
    found = contingency([(sequence, [f"phone{phone}" for phone in phones])], 5)
    assert np.array_equal(found, counts[counts.sum(1) > 0])


def test_a_frame_has_the_phone_in_the_middle_of_its_window():
    phones = [("A", 0.0, 0.03), ("B", 0.03, 0.02), ("C", 0.07, 0.01)]
    # middles at 12.5, 22.5, 32.5 … ms
    assert phones_by_frame(phones, 8, 100) == ["A", "A", "B", "B", None, None, "C", None]
    assert phones_by_frame(phones, 4, 50) == ["A", "B", None, "C"]
    assert phones_by_frame([], 2, 50) == [None, None]


def source_of(alignments):
    """Two cuts of a second, the first ones with phones."""
    from lhotse.supervision import AlignmentItem

    cuts = []
    for name in ("a", "b"):
        cut = recording_cut(name, f"/nowhere/{name}.wav", duration_s=1.0, partition="train")
        if name in alignments:
            items = [AlignmentItem(*item) for item in alignments[name]]
            cut.supervisions = [cut.supervisions[0].with_alignment("phone", items)]
        cuts.append(cut)
    spans = {"a": (0, 16_000), "b": (16_000, 32_000)}
    return Recordings(sorted_cuts(cuts), PackedAudio(np.zeros(32_000, np.int16), spans))


def test_quality_is_written_where_some_recordings_have_phones(tmp_path, caplog):
    caplog.set_level("INFO", "train")
    source = source_of({"a": [("A", 0.0, 0.5), ("B", 0.5, 0.5)]})
    sequence = np.repeat([0, 1], 49).astype(np.int16)
    units = Units({"a": sequence, "b": 1 - sequence}, 100, 4)
    note(units, source, tmp_path / "units.json")
    stored = json.loads((tmp_path / "units.json").read_text())
    assert stored == {
        "phone_purity": 1.0,
        "cluster_purity": 1.0,
        "pnmi": pytest.approx(1.0),
        "frames": 98,
        "num_clusters": 4,
    }
    assert "PNMI" in caplog.text
    (tmp_path / "units.json").write_text("kept")
    note(units, source, tmp_path / "units.json")
    assert (tmp_path / "units.json").read_text() == "kept"


def test_nothing_is_written_where_no_phone_is_known(tmp_path):
    units = Units({"a": np.zeros(9, np.int16)}, 100, 4)
    assert measure(units, {}) is None
    note(units, source_of({}), tmp_path / "units.json")
    assert not any(tmp_path.iterdir())


@pytest.fixture
def folder(corpus, tmp_path):
    """The corpus' manifest and audio, to which phones can be added."""
    for path in corpus.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_phones_beside_a_manifest_become_alignments(folder):
    lines = [
        {"path": "00.wav", "phones": [["AH", 0, 0.1], ["T", 0.1, 0.05]]},
        {"path": "05.wav", "phones": []},
    ]
    text = "\n\n".join(json.dumps(line) for line in lines)
    (folder / "phones.jsonl").write_text(text + "\n")
    assert alignments_of(read_corpus(folder)) == {"00.wav": [("AH", 0.0, 0.1), ("T", 0.1, 0.05)]}


GOOD = '{"path": "00.wav", "phones": [["AH", 0.0, 0.1]]}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "line 2: an object with 'path' and 'phones'"),
        ('{"path": "01.wav"}', "line 2: an object with 'path' and 'phones'"),
        ('{"path": "01.wav", "phones": [], "words": []}', "line 2: an object with"),
        ('{"path": 1, "phones": []}', "line 2: 'path' must be text"),
        ('{"path": "99.wav", "phones": []}', "line 2: path '99.wav' is in no row"),
        (GOOD, "line 2 repeats '00.wav'"),
        ('{"path": "01.wav", "phones": [["AH", 0.0]]}', r"line 2: phone \[\"AH\", 0.0\] is not"),
        ('{"path": "01.wav", "phones": [["", 0, 1]]}', "is not a symbol"),
        ('{"path": "01.wav", "phones": [["AH", -1, 1]]}', "is not a symbol"),
        ('{"path": "01.wav", "phones": [["AH", 0, 0]]}', "is not a symbol"),
        ('{"path": "01.wav", "phones": [["AH", true, 1]]}', "is not a symbol"),
        ('{"path": "01.wav", "phones": [["AH", NaN, 1]]}', "is not a symbol"),
        ('{"path": "01.wav", "phones": [["A", 0, 0.2], ["B", 0.1, 0.1]]}', "starts at 0.1 s, befo"),
        ('{"path": "01.wav", "phones": [["A", 0, 9]]}', "phones end at 9 s and the recording at"),
    ],
)
def test_phones_that_cannot_be_right_are_told_with_their_line(line, said, folder):
    (folder / "phones.jsonl").write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(DataError, match=said):
        read_corpus(folder)


def test_phones_that_are_no_text_are_told(folder):
    (folder / "phones.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="no text in UTF-8"):
        read_corpus(folder)
