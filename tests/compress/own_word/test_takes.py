"""Recordings of the user's own."""

import csv

import numpy as np
import pytest
import soundfile

from compress.own_word.takes import held_out, read_takes
from train.errors import DataError


def record(path, seconds=0.6, level=0.4, lead_s=0.5):
    rng = np.random.default_rng(0)
    waveform = rng.normal(0.0, 1e-4, 32_000)
    start = int(lead_s * 16_000)
    length = int(seconds * 16_000)
    waveform[start : start + length] += level * np.sin(np.arange(length) / 4.0)
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, waveform, 16_000)


def test_a_take_is_cut_to_its_word_at_full_level(tmp_path):
    record(tmp_path / "takes" / "1.wav")
    (take,) = read_takes(tmp_path / "takes", "hey otter")
    start, end = take.span
    assert (end - start) / 16_000 == pytest.approx(0.6, abs=0.03)
    assert start == pytest.approx(1600, abs=10)
    assert len(take.waveform) == pytest.approx(9600 + 3200, abs=500)
    assert np.abs(take.waveform).max() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seconds", "level", "said"),
    [(0.05, 0.4, "0.0[0-9] s stand out"), (0.6, 0.0, "nothing is heard")],
)
def test_a_recording_without_a_word_is_named(tmp_path, seconds, level, said):
    record(tmp_path / "takes" / "1.wav", seconds, level)
    with pytest.raises(DataError, match=rf"takes/1.wav: {said}.*record it once"):
        read_takes(tmp_path / "takes", "hey otter")


def test_where_there_are_labels_those_of_the_keyword_are_taken(tmp_path):
    takes = tmp_path / "takes"
    for name in ("1.wav", "2.wav", "3.wav"):
        record(takes / name)
    with (takes / "manifest.csv").open("w", newline="") as lines:
        rows = [("path", "label"), ("1.wav", "Hey_Otter"), ("2.wav", "other"), ("3.wav", "")]
        csv.writer(lines).writerows(rows)
    assert [take.name for take in read_takes(takes, "hey otter")] == ["1.wav"]
    with pytest.raises(DataError, match="no recording labelled 'badger', only Hey_Otter, other"):
        read_takes(takes, "badger")


def test_every_fourth_is_left_out(tmp_path):
    for number in range(9):
        record(tmp_path / "takes" / f"{number}.wav")
    takes = read_takes(tmp_path / "takes", "hey otter")
    shares = held_out(takes)
    assert (len(shares.train), len(shares.test)) == (7, 2)
    assert {take.name for take in (*shares.train, *shares.test)} == {take.name for take in takes}
    assert held_out(takes[:3]).test == ()
    again = held_out(takes[::-1])
    assert [take.name for take in again.test] == [take.name for take in shares.test]
