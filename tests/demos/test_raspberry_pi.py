"""The Pi's spotter: what a word sets off, and what it says when it cannot."""

import importlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime import listen, load
from runtime.listen import wav_blocks

ROOT = Path(__file__).parents[2]
SPOTTER = ROOT / "demos" / "raspberry_pi" / "spotter.py"
HOOK = """
import json, os, sys
ours = {name: value for name, value in os.environ.items() if name.startswith("OTOLITE_")}
with open(sys.argv[1], "a") as told:
    print(json.dumps(ours), file=told)
"""
PINS = """
class DigitalOutputDevice:
    def __init__(self, number):
        if number > 27:
            raise ValueError(f"no pin {number}")
        self.number = number
    def tell(self, text):
        with open("pins.txt", "a") as told:
            print(self.number, text, file=told)
    def blink(self, *, on_time, off_time, n, background):
        assert (off_time, n, background) == (0, 1, True)
        self.tell(on_time)
    def close(self):
        self.tell("closed")
"""
SILENCE = """
import threading, time
class PortAudioError(Exception): pass
class InputStream:
    active = True
    def __init__(self, *, blocksize, callback, **_rest):
        self.blocksize, self.callback, self.closed = blocksize, callback, False
    def __enter__(self):
        threading.Thread(target=self.play, daemon=True).start()
        return self
    def __exit__(self, *_error):
        self.closed = True
    def play(self):
        while not self.closed:
            self.callback(np.zeros((self.blocksize, 1), np.float32), self.blocksize, None, None)
            time.sleep(0.01)
"""


def spotter(folder: Path, *words: object, **modules: str) -> "subprocess.Popen[str]":
    """Start it in a folder, with stand-ins for modules that only a device has."""
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, SPOTTER, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{folder}:{ROOT}", "PYTHONUTF8": "1"},
    )


def finished(started: "subprocess.Popen[str]") -> tuple[int, list[str], list[str]]:
    out, err = started.communicate(timeout=60)
    return started.returncode, out.splitlines(), err.splitlines()


def test_a_word_runs_its_command_and_pulses_the_pin(
    tmp_path: Path, bundle: Path, wav: Path
) -> None:
    hook = tmp_path / "hook.py"
    hook.write_text(HOOK, encoding="utf-8")
    command = f"no={sys.executable} {hook} told.jsonl"
    started = spotter(tmp_path, bundle, "--wav", wav, "--on", command, "--gpio", 17, gpiozero=PINS)
    code, out, err = finished(started)
    expected = list(listen(bundle, wav_blocks(wav, load(bundle).sample_rate)))
    assert code == 0, err
    assert [line.split()[2:-1] for line in out] == [event.label.split() for event in expected]
    of_the_word = [event for event in expected if event.label == "no"]
    assert 0 < len(of_the_word) < len(expected)
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert 0 < len(told) <= len(of_the_word)  # not again while it runs
    first = of_the_word[0]
    assert told[0] == {
        "OTOLITE_LABEL": "no",
        "OTOLITE_SCORE": f"{first.score:.4f}",
        "OTOLITE_START_S": f"{first.start_s:.3f}",
        "OTOLITE_END_S": f"{first.end_s:.3f}",
    }
    pins = (tmp_path / "pins.txt").read_text().splitlines()
    assert pins[: len(expected)] == ["17 1.0"] * len(expected)
    assert set(pins[len(expected) :]) == {"17 closed"}


def test_a_words_command_need_not_wait_for_the_recordings_end(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SPOTTER.parent)
    module = importlib.import_module("spotter")
    noise = np.random.default_rng(0).uniform(-1, 1, (9, 1_600)).astype(np.float32)
    waiting = iter(noise)
    monkeypatch.setattr(module, "wav_blocks", lambda *_asked: waiting)
    options = module.parser().parse_args([str(bundle), "--wav", "noise.wav"])
    next(module.events(load(bundle), options))
    assert len(list(waiting)) > 0


def test_a_command_that_still_runs_is_not_started_again_and_is_ended(
    tmp_path: Path, bundle: Path, wav: Path
) -> None:
    script = tmp_path / "slow.sh"
    script.write_text("#!/bin/sh\necho run >> runs.txt\nexec sleep 600\n", encoding="utf-8")
    script.chmod(0o755)
    started = spotter(tmp_path, bundle, "--wav", wav, "--on", f"no={script}")
    code, _, err = finished(started)
    assert code == 0
    assert (tmp_path / "runs.txt").read_text() == "run\n"
    assert any("still runs; not started again" in line for line in err)


def test_it_stops_when_systemd_says_so(tmp_path: Path, bundle: Path) -> None:
    started = spotter(tmp_path, bundle, sounddevice=SILENCE)
    assert started.stderr is not None
    assert started.stderr.readline().startswith("listening for ")
    started.send_signal(signal.SIGTERM)
    code, out, err = finished(started)
    assert (code, out, err) == (0, [], ["stopped"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--on", "no"), "--on takes WORD=COMMAND, got 'no'"),
        (("--on", "maybe=true"), "the bundle does not listen for 'maybe', but for "),
        (("--on", "no="), "there is no command to run"),
        (("--on", "no=no-such-program-here"), "there is no program 'no-such-program-here'"),
        (("--on", "no=sh 'half"), "cannot be read: No closing quotation"),
        (("--gpio", "17"), "--gpio needs gpiozero"),
        (("--gpio", "17", "--pulse-s", "0"), "--pulse-s must be above 0, got 0.0"),
        (("--gpio", "17", "--pulse-s", "nan"), "--pulse-s must be above 0, got nan"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    tmp_path: Path, bundle: Path, wav: Path, words: tuple[str, ...], message: str
) -> None:
    code, out, err = finished(spotter(tmp_path, bundle, "--wav", wav, *words))
    assert (code, out) == (1, [])
    (line,) = err
    assert line.startswith("error: ")
    assert message in line


def test_a_pin_that_is_none_a_bundle_that_is_none(tmp_path: Path, bundle: Path, wav: Path) -> None:
    started = spotter(tmp_path, bundle, "--wav", wav, "--gpio", 99, gpiozero=PINS)
    code, _, (line,) = finished(started)
    assert (code, line) == (1, "error: pin 99 cannot be used: no pin 99")
    code, _, (line,) = finished(spotter(tmp_path, tmp_path / "nothing", "--wav", wav))
    assert code == 1
    assert line.startswith("error: ")
