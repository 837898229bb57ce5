"""`make arm64-demo`: what it has said, hears and compares, and what it says where it cannot."""

import os
import sys

import arm64_demo
import arm64_system as system
import numpy as np
import pytest
import soundfile
from said_keywords import write_keywords

from runtime import listen, load
from runtime.wav import read_wav
from train.data.voices import speak

SHIPPED = arm64_demo.ROOT / "spotters" / "wake-words"
YES, NO = ("yes", 1.0, 2.0), ("no", 3.2, 4.2)
SPOTTER = """
import os, shlex, subprocess, sys
for word, start_s in (("yes", 1), ("no", 3)):
    print(f"{start_s:9.2f} s  {word}  0.94")
    told = {"LABEL": word, "START_S": f"{start_s:.3f}", "END_S": "4.500", "SCORE": "0.9400"}
    environment = {f"OTOLITE_{name}": value for name, value in told.items()}
    for hook in sys.argv:
        if hook.startswith(f"{word}="):
            subprocess.run(shlex.split(hook.partition("=")[2]), env=environment, check=True)
print("something is odd", file=sys.stderr)
sys.exit(sys.argv[1] == "ill")
"""
INSTALLER = """
import os
prefix, units, engine = (os.environ[name] for name in ("PREFIX", "UNITS", "ENGINE"))
assert os.environ["NO_START"]
os.makedirs(units)
with open(f"{units}/otolite-spotter.service", "w") as unit:
    started = f"ExecStart={prefix}/python {prefix}/a.py {engine} $OPTIONS"
    print("[Service]", started, sep="\\n", file=unit)
"""


def hear(folder, keywords, *words):
    spotter = [sys.executable, "-c", SPOTTER, *words]
    return arm64_demo.hear(spotter, folder / "a.wav", keywords, folder / "run", dict(os.environ))


def test_events_are_what_the_command_was_told(tmp_path):
    heard = hear(tmp_path, ("yes", "no"))
    assert heard == {("yes", 1.0, 4.5): 0.94, ("no", 3.0, 4.5): 0.94}


def test_an_event_without_its_command_and_a_spotter_that_fails_are_told(tmp_path):
    (tmp_path / "ill").mkdir()
    with pytest.raises(system.CheckError, match=r"ran for 1 of 2 events \(something is odd\)"):
        hear(tmp_path, ("yes",))
    with pytest.raises(system.CheckError, match=r"the spotter failed \(exit 1\): something is odd"):
        hear(tmp_path / "ill", ("yes", "no"), "ill")


@pytest.mark.parametrize(
    ("emulated", "passed"),
    [
        ({NO: 0.9, YES: 0.804}, [True, True]),
        ({NO: 0.9, YES: 0.806}, [False, True]),
        ({NO: 0.9, YES: float("nan")}, [False, True]),
        ({YES: 0.8}, [True, False]),
        ({NO: 0.9, ("yes", 1.08, 2.08): 0.8}, [False, False, True]),
    ],
)
def test_events_must_be_the_same_ones_with_about_the_same_scores(emulated, passed):
    rows = arm64_demo.compare({YES: 0.8, NO: 0.9}, emulated, 0.005)
    assert [row.passed for row in rows] == passed
    assert [row.start_s for row in rows] == sorted(row.start_s for row in rows)


def test_what_one_machine_has_not_heard_is_in_the_table():
    rows = arm64_demo.compare({YES: 0.8}, {NO: 0.9}, 0.005)
    _, first, second = arm64_demo.table(rows, ("x86_64", "aarch64")).splitlines()
    assert first.split()[-3:] == ["0.8000", "not", "heard"]
    assert second.split()[:4] == ["no", "3.200", "4.200", "5.00e-03"]
    assert second.split()[-3:] == ["not", "heard", "0.9000"]


def test_what_the_unit_starts_is_taken_from_the_unit(tmp_path):
    within = [sys.executable, "-c", INSTALLER]  # install.sh is one of its words, and not run
    environment = {**os.environ, "ENGINE": "tflite"}
    words = arm64_demo.install(within, tmp_path / "a.whl", tmp_path / "b", tmp_path, environment)
    assert words == [f"{tmp_path}/otolite/python", f"{tmp_path}/otolite/a.py", "tflite"]


def test_each_keyword_is_said_once_by_the_first_voice_that_is_heard(tmp_path):
    pytest.importorskip("espeakng_loader", reason="the extra 'synthesis' is not installed")
    model = load(SHIPPED)
    keywords = model.manifest.decision.keywords
    assert write_keywords(tmp_path / "said.wav", model) == keywords
    waveform, rate_hz = read_wav(tmp_path / "said.wav")
    assert rate_hz == model.sample_rate
    assert tuple(event.label for event in listen(model, [waveform])) == keywords


def test_clips_that_are_not_heard_are_passed_over(tmp_path):
    pytest.importorskip("espeakng_loader", reason="the extra 'synthesis' is not installed")
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    for folder in ("alexa", "computer"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "1.flac", noise, 16_000)
    soundfile.write(tmp_path / "alexa" / "2.flac", *speak("alexa", "en"))
    said = write_keywords(tmp_path / "said.wav", load(SHIPPED), tmp_path)
    assert said == ("alexa",)
    waveform, _ = read_wav(tmp_path / "said.wav")
    assert [event.label for event in listen(SHIPPED, [waveform])] == ["alexa"]


def test_a_bundle_that_cannot_be_installed_is_refused_before_anything_is_set_up(tmp_path, capsys):
    (tmp_path / "sent.zip").touch()
    for bundle in (tmp_path / "sent.zip", tmp_path):
        assert arm64_demo.main([str(bundle), "--cache", str(tmp_path / "cache")]) == 1
        assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "cache").exists()


def test_a_recording_of_nothing_is_refused_before_anything_is_set_up(tmp_path, monkeypatch, capsys):
    sources = (tmp_path / "no.whl", arm64_demo.ROOT)
    monkeypatch.setattr(arm64_demo, "device_wheel", lambda _folder: sources)
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(16_000), 16_000)
    words = [str(SHIPPED), "--cache", str(tmp_path / "cache"), "--wav", str(silence)]
    assert arm64_demo.main(words) == 1
    assert "nothing was heard" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
