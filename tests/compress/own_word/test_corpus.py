"""The clips of a keyword, its near misses and the user's takes; and talk without it."""

import csv

import numpy as np
import pytest

from compress.own_word.chorus import Chorus
from compress.own_word.corpus import make_word_corpus
from compress.own_word.surroundings import make_surroundings
from compress.own_word.takes import Take, Takes
from compress.own_word.talk import make_talk
from train.data.audio import decode
from train.data.corpus import read_corpus
from train.data.cuts import label_of
from train.data.rooms import read_surroundings
from train.data.spoken import word_span
from train.data.synthetic import VARIANTS
from train.errors import DataError

TAKE = Take(
    "a.wav",
    np.concatenate([np.zeros(1600), np.sin(np.arange(8000) / 5.0), np.zeros(1600)]).astype("f4"),
    (1600, 9600),
)


def make(out, phrase, talker, mistakes, *, seed=0, takes=Takes()):  # noqa: B008
    make_word_corpus(
        out,
        phrase,
        Chorus([talker]),
        mistakes,
        takes=takes,
        num_clips=20,
        num_near_misses=30,
        seed=seed,
    )
    return out


@pytest.fixture(scope="module")
def speech(phrase, talker, mistakes, tmp_path_factory):
    takes = Takes(train=(TAKE, TAKE), test=(TAKE,))
    return make(tmp_path_factory.mktemp("own") / "speech", phrase, talker, mistakes, takes=takes)


def test_partitions_have_their_shares_and_voices_of_their_own(speech):
    cuts = [cut for cut in read_corpus(speech) if not cut.id.startswith("own/")]
    for label, shares in (("hey otter", (16, 2, 2)), ("_unknown_", (24, 3, 3))):
        for partition, share in zip(("train", "valid", "test"), shares, strict=True):
            there = [c for c in cuts if label_of(c) == label and c.partition == partition]
            assert len(there) == share
            timbres = {cut.supervisions[0].speaker.partition("+")[2] for cut in there}
            assert timbres <= set(VARIANTS[partition])


def test_a_keyword_lies_where_its_alignment_says_and_quiet_is_around_it(speech):
    for cut in read_corpus(speech):
        if label_of(cut) != "hey otter" or cut.id.startswith("own/"):
            continue
        waveform = decode(speech / cut.id)
        start, end, told = word_span(cut, waveform)
        assert told
        assert 0.25 < (end - start) / 16_000 < 1.5
        assert 0.09 < start / 16_000 < 0.31
        loud = np.abs(waveform[start:end]).max()
        assert 0.05 < loud <= 1.0
        assert np.abs(waveform[: start - 160]).max() < 0.5 * loud


def test_near_misses_are_named_by_their_sounds(speech):
    with (speech / "manifest.csv").open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["label"] == "_unknown_"]
    assert {"sounds", "part"} <= {row["kind"] for row in rows}
    assert all(row["word"] and row["word"] != "hey otter" for row in rows)


def test_takes_are_played_at_several_speeds_and_those_left_out_as_they_are(speech):
    own = [cut for cut in read_corpus(speech) if cut.id.startswith("own/")]
    train = [cut for cut in own if cut.partition == "train"]
    # 15 % of the keyword's clips to train on, in equal shares: 1.4 of 16 is one of each take.
    assert len(train) == 2
    assert len({cut.duration for cut in train}) == 2
    (test,) = (cut for cut in own if cut.partition == "test")
    np.testing.assert_allclose(decode(speech / test.id), 0.5 * TAKE.waveform, atol=1e-4)
    assert test.supervisions[0].alignment["phone"][0].start == 0.1


def test_the_same_seed_gives_the_same_bytes(phrase, mistakes, tmp_path):
    # Of a talker of its own each, as a program that is called again has.
    from compress.own_word.talkers.espeak import EspeakTalker
    from train.data.voices import Speaker

    made = [
        make(tmp_path / name, phrase, EspeakTalker(Speaker(), ["en-us"]), mistakes, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    files = sorted(path.relative_to(made[0]) for path in made[0].rglob("*.*"))
    first, same, other = ([(root / name).read_bytes() for name in files] for root in made)
    assert first == same
    assert not any(a == b for a, b in zip(first, other, strict=True))


def test_a_folder_that_cannot_be_written_is_named(phrase, talker, mistakes, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written to"):
        make(tmp_path / "file" / "speech", phrase, talker, mistakes)
    with pytest.raises(DataError, match="cannot be written to"):
        make_talk(tmp_path / "file" / "talk", Chorus([talker]), mistakes, minutes=1, seed=0)
    with pytest.raises(DataError, match="cannot be written to"):
        make_surroundings(tmp_path / "file" / "noises", 0)


def test_talk_has_all_partitions_by_voices_of_their_own(talker, mistakes, tmp_path):
    make_talk(tmp_path / "talk", Chorus([talker]), mistakes, minutes=0.1, seed=0)
    cuts = list(read_corpus(tmp_path / "talk"))
    for partition in ("train", "valid", "test"):
        there = [cut for cut in cuts if cut.partition == partition]
        assert len(there) == 2
        for cut in there:
            assert cut.supervisions[0].speaker.partition("+")[2] in VARIANTS[partition]
            assert 20.0 <= cut.duration < 40.0
            waveform = decode(tmp_path / "talk" / cut.id)
            assert 0.05 < np.abs(waveform).max() <= 1.0


def test_made_surroundings_are_read_as_recorded_ones_are(tmp_path):
    make_surroundings(tmp_path / "noises", 0)
    around = read_surroundings(tmp_path / "noises")
    assert len(around.noises) == len(around.rooms) == 12
    for room in around.rooms:
        assert np.abs(room).argmax() == 0  # the direct sound comes first
    assert len({room.tobytes() for room in around.rooms}) == 12
