"""docs/how-to/phones.md, as it stands but for the updates: train, export, look, stream."""

import re
import shlex
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

import runtime

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "phones.md"
BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S))
FEW = ["--set", "updates=2", "--set", "causal_tcn.channels=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the page is read: recordings, and one to listen to."""
    folder = tmp_path_factory.mktemp("phones")
    recordings = folder / "recordings"
    recordings.mkdir()
    rng = np.random.default_rng(0)
    lines = ["path,text,split,phones"]
    for number, part in enumerate(["train"] * 4 + ["valid", "test"]):
        hiss = rng.normal(0, 0.1, 12_000)
        soundfile.write(recordings / f"{number}.wav", hiss, 16_000)
        lines.append(f"{number}.wav,hello,{part},HH AH L OW")
    (recordings / "manifest.csv").write_text("\n".join(lines) + "\n")
    soundfile.write(folder / "hello.wav", rng.normal(0, 0.1, 9_001), 8_000)
    return folder


def test_the_page_leads_from_recordings_to_phones(folder, call, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    for line in BLOCKS["sh"].splitlines():
        words = shlex.split(line)[1:]
        answer = call(*words, *(FEW if words[0] == "finetune" else []))
        assert answer.code == 0, f"{line}: {answer.err}"
    capfd.readouterr()
    exec(compile(BLOCKS["python"], str(PAGE), "exec"), {})  # the page's program
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    with wave.open("hello.wav") as recording:
        seconds = recording.getnframes() / recording.getframerate()
    labels = runtime.load("phones.bundle").labels
    assert len(lines) == int(np.ceil((seconds + 0.25) / 0.04))
    assert [float(line[0]) for line in lines] == pytest.approx(
        [0.04 * number for number in range(len(lines))], abs=0.006
    )
    assert all(line[2] in labels and 0.0 < float(line[3]) <= 1.0 for line in lines)
