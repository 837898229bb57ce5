"""What is asked for, and whose a folder is."""

import dataclasses
from pathlib import Path

import pytest

from compress import CallError
from compress.own_word.asking import Ask, claim

ASK = Ask(text="hey otter", negatives=(Path("speech"),))


def test_a_folder_is_gone_on_in_for_the_same_alone(tmp_path):
    claim(ASK, tmp_path / "out", resume=False)
    with pytest.raises(CallError, match="begun already; go on by --resume"):
        claim(ASK, tmp_path / "out", resume=False)
    claim(ASK, tmp_path / "out", resume=True)
    other = dataclasses.replace(ASK, seed=1)
    with pytest.raises(CallError, match="was begun with seed 0, and 1 is asked for"):
        claim(other, tmp_path / "out", resume=True)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").touch()
    with pytest.raises(CallError, match="holds no spotter of ours"):
        claim(ASK, tmp_path, resume=True)
    (tmp_path / "asked.json").write_text("{")
    with pytest.raises(CallError, match="is damaged"):
        claim(ASK, tmp_path, resume=True)


def test_few_clips_are_refused():
    with pytest.raises(CallError, match="--clips must be 100 or more"):
        Ask(text="hey otter", clips=99)


def test_notes_say_what_figures_are_worth():
    assert set(ASK.notes) == {"misses"}
    assert set(dataclasses.replace(ASK, negatives=()).notes) == {"misses", "false_alarms"}
    assert dataclasses.replace(ASK, enroll=True).notes == {}
