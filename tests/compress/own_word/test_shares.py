"""Speech without the keyword is divided by who speaks."""

import csv
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from compress.own_word.shares import divide, divided, hours_of
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.data.cuts import PARTITIONS
from train.errors import DataError


def write(root, rows):
    """Rows of path, speaker, split and seconds."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for path, *_, seconds in rows:
        soundfile.write(root / path, rng.normal(0, 0.1, int(seconds * 16_000)), 16_000)
    with (root / "manifest.csv").open("w", newline="") as lines:
        head = ("path", "speaker", "split")
        csv.writer(lines).writerows([head, *(row[:3] for row in rows)])
    return root


def parts(out):
    places = divided(out)
    return {name: list(read_corpus(getattr(places, name))) for name in PARTITIONS}


def test_test_speakers_stay_and_valid_ones_are_taken_whole(tmp_path):
    rows = [(f"{n}.wav", f"s{n // 3}", "train" if n < 30 else "test", 0.5) for n in range(36)]
    divide([write(tmp_path / "speech", rows)], tmp_path / "out")
    found = parts(tmp_path / "out")
    speakers = {name: {c.supervisions[0].speaker for c in cuts} for name, cuts in found.items()}
    assert speakers["test"] == {"s10", "s11"}
    assert len(speakers["valid"]) == 2  # a fifth of ten
    assert not speakers["valid"] & speakers["train"]
    assert {name: {c.partition for c in cuts} for name, cuts in found.items()} == {
        name: {name} for name in PARTITIONS
    }
    assert sum(len(cuts) for cuts in found.values()) == 36
    assert hours_of(divided(tmp_path / "out").valid) == pytest.approx(3.0 / 3600)


def test_recordings_of_two_folders_may_have_one_name_and_can_be_decoded(tmp_path):
    names = [(f"{n}.wav", "", "", 0.5) for n in range(5)]
    folders = []
    for name in ("a", "b"):
        folders.append(write(tmp_path / name, names))
        (folders[-1] / "manifest.csv").unlink()  # a plain folder: a tenth of it is valid
    divide(folders, tmp_path / "deep" / "out")
    found = parts(tmp_path / "deep" / "out")
    assert all(found.values())
    assert len({cut.id for cuts in found.values() for cut in cuts}) == 10
    for name in PARTITIONS:
        cuts = read_corpus(getattr(divided(tmp_path / "deep" / "out"), name))
        packed = PackedAudio.of(cuts, progress=False)
        assert all(packed.num_samples(cut.id) == 8000 for cut in cuts)


def test_one_long_recording_is_divided_by_the_minute(tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    waveform = np.random.default_rng(0).normal(0, 0.1, 400 * 8000)
    soundfile.write(folder / "radio.wav", waveform, 8000)
    divide([folder], tmp_path / "out")
    found = parts(tmp_path / "out")
    pieces = sorted(
        (cut.start, cut.start + cut.duration) for cuts in found.values() for cut in cuts
    )
    assert all(found.values())
    assert pieces[0][0] == 0.0
    assert pieces[-1][1] == pytest.approx(400.0)
    assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(pieces))


def test_too_little_is_refused_and_leaves_nothing(tmp_path):
    write(tmp_path / "speech", [("0.wav", "s", "train", 1.0)])
    with pytest.raises(DataError, match=r"too little to divide.*three speakers or recordings"):
        divide([tmp_path / "speech"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
