"""L2-ARCTIC as it is published: what was said beside what should have been."""

import pytest
from learners_trees import text_grid, write_l2_arctic, write_l2_recording
from lhotse import CutSet

from train.data.corpora import l2_arctic
from train.data.corpus import read_corpus
from train.data.perceived import pairs_of
from train.data.prepare import prepare
from train.data.said import phones_said
from train.errors import DataError

ANNOTATED = [
    "sil", "TH,S,s", "IH1", " ng , n , S", "sil,AH0,a", "", "sp", "K,sil,d", "SIL", "AX0", "T,T*,s",
    "AE1,err,s", "ah,ax,s", "D`", "sil",
]  # fmt: skip


def only(root):
    (cut,) = l2_arctic.cuts(root)
    return cut


@pytest.fixture
def recorded(tmp_path, write_tone):
    """Read a recording of ABA that is annotated so."""

    def record(*labels):
        write_l2_recording(tmp_path, write_tone, "ABA/arctic_a0001", "Some text", labels)
        return only(tmp_path)

    return record


def test_the_phones_of_a_recording_are_those_perceived_with_pauses_in_a_row_as_one(recorded):
    cut = recorded(*ANNOTATED)
    assert phones_said(CutSet.from_cuts([cut])) == {
        "ABA/wav/arctic_a0001.wav": (
            "SIL", "S", "IH", "N", "AH", "SIL", "AH", "T", "ERR", "AH", "D", "SIL",
        )
    }  # fmt: skip


def test_canonical_and_perceived_phones_are_kept_place_by_place(recorded):
    assert pairs_of(recorded(*ANNOTATED)) == [
        ("TH", "S"), ("IH", "IH"), ("NG", "N"), (None, "AH"), ("K", None), ("AH", "AH"),
        ("T", "T"), ("AE", "ERR"), ("AH", "AH"), ("D", "D"),
    ]  # fmt: skip


def test_phones_of_a_moved_and_prepared_corpus_are_the_same(tmp_path, write_tone):
    tree = write_l2_arctic("tree", write_tone)
    prepare("l2_arctic", tmp_path / "out", source=tree, progress=False)
    cuts = read_corpus(tmp_path / "out")
    assert phones_said(cuts) == {
        f"{speaker}/wav/arctic_a0001.wav": ("S", "IH") for speaker in ("ABA", "TLV")
    }
    assert [pairs_of(cut) for cut in cuts] == [[("TH", "S"), ("IH", "IH")], None] * 2


def test_recordings_without_annotation_keep_their_text_and_have_no_phones(tmp_path, write_tone):
    cuts = list(l2_arctic.cuts(write_l2_arctic("tree", write_tone)))
    assert [(cut.id, cut.partition, cut.supervisions[0].text) for cut in cuts] == [
        ("ABA/wav/arctic_a0001.wav", "train", "Think"),
        ("ABA/wav/arctic_a0002.wav", "train", "Lord"),
        ("TLV/wav/arctic_a0001.wav", "test", "Think"),
        ("TLV/wav/arctic_a0002.wav", "test", "Lord"),
    ]
    assert len(phones_said(CutSet.from_cuts(cuts))) == 2


def test_a_tenth_of_what_is_annotated_of_each_speaker_of_training_is_for_validation(
    tmp_path, write_tone
):
    for speaker in ("ABA", "HKK", "NJS"):
        for number in range(25):
            name = f"{speaker}/arctic_a{number:04d}"
            write_l2_recording(tmp_path, write_tone, name, "A", ["AH0"] if number < 20 else None)
    cuts = list(l2_arctic.cuts(tmp_path))
    chosen = {
        speaker: [cut.id for cut in cuts if cut.supervisions[0].speaker == speaker]
        for speaker in ("ABA", "HKK", "NJS")
    }
    valid = [cut for cut in cuts if cut.partition == "valid"]
    assert all(pairs_of(cut) for cut in valid)
    assert [sum(cut.id in chosen[speaker] for cut in valid) for speaker in chosen] == [2, 2, 0]
    assert {cut.partition for cut in cuts if cut.id in chosen["NJS"]} == {"test"}
    # another choice for each speaker, the same one every time
    numbers = [cut.id[-8:] for cut in valid]
    assert numbers[:2] != numbers[2:]
    assert [cut.id for cut in l2_arctic.cuts(tmp_path) if cut.partition == "valid"] == [
        cut.id for cut in valid
    ]


def test_the_test_has_a_speaker_of_each_language():
    assert len(l2_arctic.SPEAKERS) == len(set(l2_arctic.SPEAKERS)) == 24
    groups = [l2_arctic.SPEAKERS[start : start + 4] for start in range(0, 24, 4)]
    assert [sum(name in l2_arctic.TEST_SPEAKERS for name in group) for group in groups] == [1] * 6


def test_what_is_published_spoilt_counts_as_not_annotated(tmp_path, write_tone):
    write_l2_recording(tmp_path, write_tone, "YDCK/arctic_a0209", "A", ["AH0"])
    (tmp_path / "YDCK/annotation/arctic_a0209.TextGrid").write_text("spoilt")
    assert pairs_of(only(tmp_path)) is None


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("QQ", "'QQ' is none of ARPAbet's"),
        ("T,QQ,s", "'QQ' is none of ARPAbet's"),
        ("T,D", "'T,D' is neither a phone nor"),
        ("T,D,x", "'T,D,x' is neither a phone nor"),
        ("T,D,s,s", "'T,D,s,s' is neither a phone nor"),
    ],
)
def test_a_tag_that_is_none_is_named_with_its_file(recorded, label, said):
    with pytest.raises(DataError, match=rf"ABA/annotation/arctic_a0001.TextGrid has .*{said}"):
        recorded(label)


def test_what_is_missing_or_damaged_is_named(tmp_path, write_tone):
    with pytest.raises(DataError, match=r"has no folder of a speaker such as ABA/wav"):
        list(l2_arctic.cuts(tmp_path))
    write_l2_recording(tmp_path, write_tone, "ABA/arctic_a0001", "Some text", ["AH0"])
    grid = tmp_path / "ABA/annotation/arctic_a0001.TextGrid"
    grid.write_text(text_grid("Some text", ["AH0", "T"])[:-60])
    with pytest.raises(DataError, match=r"arctic_a0001.TextGrid is no TextGrid"):
        list(l2_arctic.cuts(tmp_path))
    transcript = tmp_path / "ABA/transcript/arctic_a0001.txt"
    transcript.write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match=r"arctic_a0001.txt cannot be read"):
        list(l2_arctic.cuts(tmp_path))
    transcript.unlink()
    with pytest.raises(DataError, match=r"arctic_a0001.txt cannot be read \(No such file"):
        list(l2_arctic.cuts(tmp_path))
