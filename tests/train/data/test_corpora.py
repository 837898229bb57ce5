"""Corpora in their official layouts, small, and the manifest that makes them readable."""

import gzip
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from learners_trees import write_l2_arctic, write_speechocean762

from train.data.corpora import libri_light, librispeech, speech_commands, speech_commands_12
from train.data.corpus import layout_names, read_corpus
from train.data.layouts import cuts as manifest
from train.data.prepare import chosen_parts, corpus_names, get_corpus, plan, prepare
from train.errors import DataError, RecipeError

UNVERIFIED = {"https://www.openslr.org/resources/101/speechocean762.tar.gz"}
"""No publisher states their checksums; `prepare` says so and tells what it found."""


def write_librispeech(root, write_tone):
    """Three sets with a speaker of two utterances each, one of them with word times."""
    for speaker, part in enumerate(("train-clean-100", "dev-other", "test-clean"), start=1):
        folder = f"{root}/LibriSpeech/{part}/{speaker}/10"
        lines = []
        for number in range(2):
            name = f"{speaker}-10-{number:04d}"
            path = write_tone(f"{folder}/{name}.flac", seconds=0.5 + number / 10)
            lines.append(f"{name} WORD {number}\n")
        (path.parent / f"{speaker}-10.trans.txt").write_text("".join(lines))
    (path.parent / "3-10.alignment.txt").write_text('3-10-0000 ",WORD,ZERO" "0.1,0.3,0.5"\n')
    return path.parents[4]


def write_libri_light(root, write_tone):
    for part, speaker in (("small", "7"), ("medium", "8")):
        path = write_tone(f"{root}/{part}/{speaker}/a_book_64kb/page_01.flac", seconds=0.8)
    path.with_suffix(".json").write_text(
        json.dumps({"speaker": "8", "voice_activity": [[0.1, 0.4], [0.5, 0.75]]})
    )
    return path.parents[3]


def write_speech_commands(root, write_tone):
    for name in ("yes/a_nohash_0.wav", "yes/b_nohash_0.wav", "no/c_nohash_1.wav"):
        path = write_tone(f"{root}/{name}", seconds=1.0)
    write_tone(f"{root}/_background_noise_/tap.wav", seconds=3.0)
    (path.parents[1] / "validation_list.txt").write_text("yes/b_nohash_0.wav\n")
    (path.parents[1] / "testing_list.txt").write_text("no/c_nohash_1.wav\n")
    return path.parents[1]


def rows(cuts):
    return [
        (cut.id, cut.partition, cut.supervisions[0].text, cut.supervisions[0].speaker)
        for cut in cuts
    ]


def test_every_corpus_says_whence_it_comes():
    assert corpus_names() == [
        "folder",
        "l2_arctic",
        "libri_light",
        "librispeech",
        "speech_commands",
        "speech_commands_12",
        "speechocean762",
    ]
    for name in corpus_names():
        corpus = get_corpus(name)
        assert corpus.LICENCE
        for archive in corpus.PARTS.values():
            assert archive.url.startswith("https://")
            assert archive.hours > 0
            assert archive.size_bytes or archive.about
            if archive.url in UNVERIFIED:
                assert archive.checksum is None, "it is known now: verify it"
                continue
            digits = {"md5": 32, "sha256": 64}[archive.checksum.algorithm]
            assert re.fullmatch(rf"[0-9a-f]{{{digits}}}", archive.checksum.hexadecimal)
            assert archive.checksum.source
    digests = {
        archive.checksum.hexadecimal: archive.url
        for name in corpus_names()
        for archive in get_corpus(name).PARTS.values()
        if archive.url not in UNVERIFIED
    }
    assert len(digests) == len(set(digests.values())) == 12


def test_planning_does_not_import_torch():
    code = (
        "import sys, train.data.shards\n"
        "from pathlib import Path\n"
        "from train.data.prepare import corpus_names, get_corpus, plan\n"
        "[plan(name, Path('o')) for name in corpus_names() if get_corpus(name).PARTS]\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_librispeech_is_960_hours_and_four_held_out_sets():
    hours = {name: archive.hours for name, archive in librispeech.PARTS.items()}
    assert sum(hours[name] for name in hours if name.startswith("train")) == pytest.approx(
        960, 1e-2
    )
    assert len(hours) == 7
    assert librispeech.PARTS["dev-clean"].file_name == "dev-clean.tar.gz"


def test_librispeech_takes_partitions_speakers_text_and_word_times(tmp_path, write_tone):
    cuts = list(librispeech.cuts(write_librispeech("ls", write_tone)))
    assert rows(cuts) == [
        ("LibriSpeech/dev-other/2/10/2-10-0000.flac", "valid", "WORD 0", "2"),
        ("LibriSpeech/dev-other/2/10/2-10-0001.flac", "valid", "WORD 1", "2"),
        ("LibriSpeech/test-clean/3/10/3-10-0000.flac", "test", "WORD 0", "3"),
        ("LibriSpeech/test-clean/3/10/3-10-0001.flac", "test", "WORD 1", "3"),
        ("LibriSpeech/train-clean-100/1/10/1-10-0000.flac", "train", "WORD 0", "1"),
        ("LibriSpeech/train-clean-100/1/10/1-10-0001.flac", "train", "WORD 1", "1"),
    ]
    assert [cut.duration for cut in cuts] == [0.5, 0.6] * 3
    (words,) = cuts[2].supervisions[0].alignment.values()
    assert [(word.symbol, word.start, word.duration) for word in words] == [
        ("", 0.0, 0.1), ("WORD", 0.1, 0.2), ("ZERO", 0.3, 0.2),
    ]  # fmt: skip
    assert cuts[3].supervisions[0].alignment is None


def test_librispeech_without_its_transcripts_or_a_recording_is_refused(tmp_path, write_tone):
    with pytest.raises(DataError, match="unpack an archive there"):
        list(librispeech.cuts(tmp_path))
    root = write_librispeech("ls", write_tone)
    (root / "LibriSpeech/dev-other/2/10/2-10-0001.flac").unlink()
    with pytest.raises(DataError, match=r"2-10\.trans\.txt has a line for 2-10-0001\.flac"):
        list(librispeech.cuts(root))


def test_libri_light_is_unlabelled_training_audio_with_its_voice_activity(tmp_path, write_tone):
    root = write_libri_light("ll", write_tone)
    cuts = list(libri_light.cuts(root))
    assert rows(cuts) == [
        ("medium/8/a_book_64kb/page_01.flac", "train", "", "8"),
        ("small/7/a_book_64kb/page_01.flac", "train", "", "7"),
    ]
    voice = cuts[0].supervisions[0].alignment["voice"]
    assert [(span.start, round(span.duration, 6)) for span in voice] == [(0.1, 0.3), (0.5, 0.25)]
    assert cuts[1].supervisions[0].alignment is None
    (root / "medium/8/a_book_64kb/page_01.json").write_text("[1, 2]")
    with pytest.raises(DataError, match=r"page_01\.json is no metadata"):
        list(libri_light.cuts(root))
    with pytest.raises(DataError, match="SUBSET/SPEAKER/BOOK"):
        list(libri_light.cuts(tmp_path / "nothing"))


def test_speech_commands_takes_the_official_lists(tmp_path, write_tone):
    cuts = list(speech_commands.cuts(write_speech_commands("sc", write_tone)))
    assert rows(cuts)[-3:] == [
        ("no/c_nohash_1.wav", "test", "no", "c"),
        ("yes/a_nohash_0.wav", "train", "yes", "a"),
        ("yes/b_nohash_0.wav", "valid", "yes", "b"),
    ]
    assert len(cuts) == 6  # three windows of silence
    with pytest.raises(DataError, match=r"lacks validation_list\.txt"):
        speech_commands.cuts(tmp_path)


def write_speech_commands_12(root, write_tone):
    """Twenty clips of a keyword for training and ten for validation, others, and a test set."""
    valid = []
    for number in range(30):
        write_tone(f"{root}/yes/s{number}_nohash_0.wav", seconds=0.2)
        valid += [f"yes/s{number}_nohash_0.wav"] * (number >= 20)
    for word in ("cat", "dog"):
        for number in range(4):
            write_tone(f"{root}/{word}/t{number}_nohash_0.wav", seconds=0.2)
        valid.append(f"{word}/t3_nohash_0.wav")
    for name in ("yes/u_nohash_0", "cat/u_nohash_0", "_unknown_/u_nohash_1", "_silence_/7"):
        path = write_tone(f"{root}/{name}.wav", seconds=0.2)
    write_tone(f"{root}/_background_noise_/tap.wav", seconds=6.0)
    (path.parents[1] / "validation_list.txt").write_text("\n".join(valid) + "\n")
    (path.parents[1] / "testing_list.txt").write_text("yes/u_nohash_0.wav\ncat/u_nohash_0.wav\n")
    return path.parents[1]


def test_twelve_classes_are_a_tenth_unknown_and_a_tenth_silence_and_the_published_test_set(
    write_tone,
):
    root = write_speech_commands_12("sc12", write_tone)
    cuts = list(speech_commands_12.cuts(root))
    counts = Counter((cut.partition, cut.supervisions[0].text) for cut in cuts)
    assert counts == {
        ("train", "yes"): 20, ("train", "_unknown_"): 2, ("train", "_silence_"): 2,
        ("valid", "yes"): 10, ("valid", "_unknown_"): 1, ("valid", "_silence_"): 1,
        ("test", "yes"): 1, ("test", "_unknown_"): 1, ("test", "_silence_"): 1,
    }  # fmt: skip
    for cut in cuts:
        if "_background_noise_" in cut.id:
            first, end = {"train": (0.0, 4.8), "valid": (4.8, 6.0)}[cut.partition]
            assert first <= cut.start <= end - cut.duration + 1e-9
            assert cut.duration == 1.0
        elif cut.supervisions[0].text == "_unknown_":
            assert cut.supervisions[0].speaker == ("u" if cut.partition == "test" else cut.id[4:6])
    assert [cut.id for cut in cuts] == [cut.id for cut in speech_commands_12.cuts(root)]
    assert len({cut.id for cut in cuts}) == len(cuts)
    (root / "_silence_/7.wav").unlink()
    (root / "_silence_").rmdir()
    with pytest.raises(DataError, match="which the test set's archive has"):
        list(speech_commands_12.cuts(root))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("librispeech", write_librispeech),
        ("libri_light", write_libri_light),
        ("speech_commands", write_speech_commands),
        ("speech_commands_12", write_speech_commands_12),
        ("speechocean762", write_speechocean762),
        ("l2_arctic", write_l2_arctic),
        ("folder", write_libri_light),
    ],
)
def test_a_prepared_corpus_reads_as_its_tree_does(tmp_path, write_tone, name, write):
    tree = write("tree", write_tone)
    result = prepare(name, tmp_path / "out/corpus", source=tree, progress=False)
    expected = sorted(get_corpus(name).cuts(tree), key=lambda cut: cut.id)
    found = list(read_corpus(tmp_path / "out/corpus"))
    assert rows(found) == rows(expected)
    for cut, other in zip(found, expected, strict=True):
        assert (cut.start, cut.duration) == (other.start, other.duration)
        assert cut.supervisions[0].alignment == other.supervisions[0].alignment
        assert cut.supervisions[0].custom == other.supervisions[0].custom
        source = cut.recording.sources[0].source
        assert Path(source).samefile(other.recording.sources[0].source)
    partitions = [cut.partition for cut in expected]
    for partition in set(partitions):
        assert result[partition]["recordings"] == partitions.count(partition)


def test_a_prepared_corpus_can_be_moved_and_is_the_same_bytes_again(tmp_path, write_tone):
    root = write_librispeech("ls", write_tone)
    prepare("librispeech", root, source=root, progress=False)
    written = (root / manifest.NAME).read_bytes()
    assert str(tmp_path) not in gzip.decompress(written).decode()
    prepare("librispeech", root, source=root, progress=False)
    assert (root / manifest.NAME).read_bytes() == written
    os.rename(root, tmp_path / "moved")
    (cut, *_) = read_corpus(tmp_path / "moved")
    assert Path(cut.recording.sources[0].source).is_relative_to(tmp_path / "moved")
    assert cut.load_audio().shape == (1, 8000)


def test_parts_are_chosen_by_name_and_never_by_the_terabyte_unasked():
    assert list(chosen_parts("librispeech", ["dev-clean", "dev-clean"])) == ["dev-clean"]
    assert len(chosen_parts("librispeech", ["all"])) == 7
    assert list(chosen_parts("speech_commands", [])) == ["v0.02"]
    with pytest.raises(RecipeError, match=r"3 parts, 35 GB and 321 GB and 3\.05 TB .*--part all"):
        chosen_parts("libri_light", [])
    with pytest.raises(RecipeError, match="no part 'dev-clear': did you mean 'dev-clean'"):
        chosen_parts("librispeech", ["dev-clear"])
    with pytest.raises(RecipeError, match="did you mean 'librispeech'"):
        get_corpus("librispech")
    for name in ("folder", "l2_arctic"):
        with pytest.raises(RecipeError, match="with --from"):
            prepare(name, Path("out"))
    with pytest.raises(RecipeError, match="leave out --part"):
        prepare("librispeech", Path("out"), source=Path("tree"), asked=["all"])


def test_a_plan_tells_addresses_sizes_and_checksums_and_writes_nothing(tmp_path):
    asked = plan("librispeech", tmp_path, asked=["dev-clean"], mirror="http://near/ls/")
    assert asked["parts"]["dev-clean"]["url"] == "http://near/ls/dev-clean.tar.gz"
    assert asked["parts"]["dev-clean"]["size_bytes"] == 337_926_286
    assert "sha256 76f87d09" in asked["parts"]["dev-clean"]["verified_by"]
    assert plan("libri_light", tmp_path)["hours"] == 57_704.0
    assert list(tmp_path.iterdir()) == []


def test_the_layout_of_a_manifest_is_tried_first():
    assert layout_names()[0] == "cuts"


def write_lines(root, *lines):
    with gzip.open(root / manifest.NAME, "wt", encoding="utf-8") as stream:
        stream.writelines(line + "\n" for line in lines)


def a_line(**changes):
    """A line of lhotse's for a.wav, with these changes."""
    source = {"type": "file", "channels": [0], "source": "a.wav"}
    recording = {
        "id": "a", "sources": [source], "sampling_rate": 16000, "num_samples": 8000,
        "duration": 0.5, "channel_ids": [0],
    }  # fmt: skip
    described = {
        "id": "a", "start": 0.0, "duration": 0.5, "channel": 0, "supervisions": [],
        "recording": recording, "type": "MonoCut",
    } | changes  # fmt: skip
    return json.dumps(described)


def test_a_foreign_manifest_gets_partitions_by_speaker_or_id(tmp_path, write_tone):
    write_tone("a.wav")
    write_lines(tmp_path, a_line(), "", a_line(id="b", custom={"partition": "test", "more": 1}))
    first, second = read_corpus(tmp_path)
    assert first.partition in ("train", "valid", "test")
    assert (second.partition, second.more) == ("test", 1)


RECORDING = json.loads(a_line())["recording"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{no json", "line 2 is no cut"),
        ("[1]", "line 2 is no cut"),
        ('{"id": "b"}', "line 2 is no cut"),
        (a_line(id="b", type="MixedCut"), "it is a MixedCut"),
        (a_line(id="b", duration=-1.0), "lasts -1.0 s"),
        (a_line(), "line 2 repeats 'a' of line 1"),
        (a_line(id="b", custom={"partition": "dev"}), "partition 'dev' is none of"),
        (
            a_line(id="b", recording=RECORDING | {
                "sources": [{"type": "command", "channels": [0], "source": "touch ran"}]
            }),
            "of type 'command'",
        ),
        (
            a_line(id="b", recording=RECORDING | {
                "sources": [{"type": "file", "channels": [0], "source": "gone.wav"}]
            }),
            r"line 2: .*gone\.wav does not exist",
        ),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_right_is_named(tmp_path, write_tone, line, said):
    write_tone("a.wav")
    write_lines(tmp_path, a_line(), line)
    with pytest.raises(DataError, match=said):
        read_corpus(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_manifest_that_is_no_gzip_or_has_no_lines_is_refused(tmp_path):
    (tmp_path / manifest.NAME).write_bytes(b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(DataError, match="no gzipped text"):
        read_corpus(tmp_path)
    write_lines(tmp_path)
    with pytest.raises(DataError, match="has no lines"):
        read_corpus(tmp_path)
