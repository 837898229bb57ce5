"""Corpora of three layouts, and what is said about those that cannot be right."""

import subprocess
import sys
from pathlib import Path

import pytest

from train.data.corpus import layout_names, read_corpus, usable
from train.errors import DataError


def write_manifest(root: Path, text: str) -> None:
    (root / "manifest.csv").write_text(text, encoding="utf-8")


def test_the_folder_layout_is_tried_last():
    assert layout_names() == ["cuts", "manifest", "speech_commands", "folder"]


def test_reading_a_corpus_module_does_not_import_torch():
    code = (
        "import sys, train.data.corpus, train.data.synthetic, train.data.audio\n"
        "import train.data.layouts.manifest, train.data.layouts.folder, train.data.recordings\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_manifest_gives_labels_speakers_and_partitions_in_the_order_of_ids(tmp_path, write_tone):
    write_tone("b/2.wav")
    write_tone("a/1.wav")
    write_manifest(
        tmp_path,
        "path,label,speaker,split,duration\nb/2.wav,yes,ann,testing,0.500\na/1.wav,no,bob,train,\n",
    )
    cuts = list(read_corpus(tmp_path))
    assert [cut.id for cut in cuts] == ["a/1.wav", "b/2.wav"]
    assert [cut.partition for cut in cuts] == ["train", "test"]
    assert [cut.supervisions[0].text for cut in cuts] == ["no", "yes"]
    assert [cut.supervisions[0].speaker for cut in cuts] == ["bob", "ann"]
    assert [cut.duration for cut in cuts] == [0.5, 0.5]


def test_a_manifest_with_durations_opens_no_recording(tmp_path):
    (tmp_path / "no_audio.wav").write_text("text")
    write_manifest(tmp_path, "path,text,duration\nno_audio.wav,A SENTENCE,2.25\n")
    (cut,) = read_corpus(tmp_path)
    assert (cut.duration, cut.supervisions[0].text) == (2.25, "A SENTENCE")


def test_a_manifest_without_splits_keeps_a_speaker_in_one_partition(tmp_path, write_tone):
    lines = ["path,speaker,duration"]
    for index in range(60):
        (tmp_path / f"{index}.wav").touch()
        lines.append(f"{index}.wav,speaker{index % 20},1.0")
    write_manifest(tmp_path, "\n".join(lines))
    partitions: dict[str, set[str]] = {}
    for cut in read_corpus(tmp_path):
        partitions.setdefault(cut.supervisions[0].speaker, set()).add(cut.partition)
    assert all(len(of_speaker) == 1 for of_speaker in partitions.values())
    assert set.union(*partitions.values()) == {"train", "valid", "test"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("paths,label\na.wav,yes\n", "did you mean 'paths'"),
        ("file,label\na.wav,yes\n", "did you mean 'file'"),
        ("label,split\nyes,train\n", "no column 'path' among label, split"),
        ("path,label\n", "has no rows"),
        ("path\nabsent.wav\n", "absent.wav does not exist"),
        ("path\n../outside.wav\n", "row 1: path '../outside.wav' must name a file below"),
        ("path\n/etc/hosts\n", "must name a file below"),
        ('path\n""\n', "must name a file below"),
        ("path\na.wav\n./a.wav\n", "row 2 repeats 'a.wav' of row 1"),
        ("path,split\na.wav,trian\n", "split 'trian' is none of train, valid, test"),
        ("path,duration\na.wav,-1\n", "duration '-1' is not a positive number"),
        ("path,duration\na.wav,nan\n", "duration 'nan' is not a positive number"),
        ("path,duration\na.wav,long\n", "duration 'long' is not a positive number"),
    ],
)
def test_a_wrong_manifest_is_named_in_one_line(tmp_path, write_tone, text, said):
    write_tone("a.wav")
    write_manifest(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_corpus(tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(b"path\n\xff\xfe\x00\n")
    with pytest.raises(DataError, match="no CSV text in UTF-8"):
        read_corpus(tmp_path)


def make_speech_commands(root: Path, write_tone) -> None:
    for name in ("yes/ann_nohash_0.wav", "yes/bob_nohash_0.wav", "no/cid_nohash_1.wav"):
        write_tone(name, seconds=0.2)
    write_tone("_background_noise_/hum.wav", seconds=20.5, rate=4000)
    (root / "validation_list.txt").write_text("yes/bob_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("no/cid_nohash_1.wav\nno/not_unpacked_nohash_0.wav\n")


def test_speech_commands_keeps_its_official_partitions_and_gives_silence(tmp_path, write_tone):
    make_speech_commands(tmp_path, write_tone)
    cuts = read_corpus(tmp_path)
    words = {cut.id: cut.partition for cut in cuts if cut.supervisions[0].text != "_silence_"}
    assert words == {
        "no/cid_nohash_1.wav": "test",
        "yes/ann_nohash_0.wav": "train",
        "yes/bob_nohash_0.wav": "valid",
    }
    assert cuts["yes/ann_nohash_0.wav"].supervisions[0].speaker == "ann"
    silence = [cut for cut in cuts if cut.supervisions[0].text == "_silence_"]
    assert [cut.start for cut in silence] == [float(second) for second in range(20)]
    assert [cut.partition for cut in silence] == ["train"] * 16 + ["valid"] * 2 + ["test"] * 2


def test_a_folder_gives_every_recording_below_it_the_same_partition_on_every_machine(
    tmp_path, write_tone
):
    for index in range(20):
        write_tone(f"{index % 3}/{index}.{'flac' if index % 2 else 'WAV'}", seconds=0.01)
    write_tone("1/.hidden.wav", seconds=0.01)
    (tmp_path / "notes.txt").write_text("no audio")
    cuts = list(read_corpus(tmp_path))
    assert len(cuts) == 20
    assert {cut.supervisions[0].text or "" for cut in cuts} == {""}
    # `printf 9 | sha1sum` and those of the others start with less than 1999..., a tenth of ffff...
    held_out = ["0/9.flac", "1/16.WAV", "2/11.flac", "2/17.flac"]
    assert [cut.id for cut in cuts if cut.partition == "valid"] == held_out


@pytest.mark.parametrize("num_files", [2, 3, 5])
def test_a_small_folder_still_has_something_to_validate_and_to_train_on(
    tmp_path, write_tone, num_files
):
    for index in range(num_files):
        write_tone(f"clip{index}.wav", seconds=0.01)
    partitions = [cut.partition for cut in read_corpus(tmp_path)]
    assert {"train", "valid"} == set(partitions)


def test_a_folder_without_audio_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("no audio")
    with pytest.raises(DataError, match=r"holds no audio.*\.wav, \.flac, \.ogg, \.opus, \.mp3"):
        read_corpus(tmp_path)


def test_a_text_file_named_wav_is_named(tmp_path):
    (tmp_path / "fake.wav").write_text("this is no audio")
    with pytest.raises(DataError, match=r"fake\.wav cannot be decoded .*replace it or remove it"):
        read_corpus(tmp_path)


def test_a_missing_folder_and_a_file_are_told_apart(tmp_path, write_tone):
    with pytest.raises(DataError, match="does not exist"):
        read_corpus(tmp_path / "absent")
    with pytest.raises(DataError, match="is a file"):
        read_corpus(write_tone("a.wav"))


def test_usable_keeps_what_is_of_the_partition_and_long_enough(tmp_path, write_tone):
    write_tone("short.wav")
    write_tone("long.wav", seconds=1.0)
    write_manifest(tmp_path, "path,split,duration\nshort.wav,train,0.5\nlong.wav,train,1.0\n")
    cuts = read_corpus(tmp_path)
    assert list(usable(cuts, partition="train", min_seconds=0.6).ids) == ["long.wav"]
    with pytest.raises(DataError, match=r"the longest has 1\.000 s"):
        usable(cuts, partition="train", min_seconds=2.0)
    with pytest.raises(DataError, match="no 'test' recordings, only train"):
        usable(cuts, partition="test")


@pytest.mark.real_audio
def test_every_real_set_with_a_manifest_is_read(real_data):
    sizes = {}
    for manifest in sorted(real_data.glob("*/manifest.csv")):
        rows = manifest.read_text(encoding="utf-8").count("\n") - 1
        sizes[manifest.parent.name] = (len(read_corpus(manifest.parent)), rows)
    assert sizes
    assert all(0 <= rows - read <= 1 or read == rows for read, rows in sizes.values()), sizes


@pytest.mark.real_audio
def test_real_speech_commands_have_no_speaker_in_two_partitions(real_data):
    partitions: dict[str, set[str]] = {}
    for cut in read_corpus(real_data / "speech_commands"):
        if speaker := cut.supervisions[0].speaker:
            partitions.setdefault(speaker, set()).add(cut.partition)
    assert len(partitions) > 1000
    assert all(len(of_speaker) == 1 for of_speaker in partitions.values())
