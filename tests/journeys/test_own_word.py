"""From a typed word to a bundle, and from a few takes to another, with four updates."""

import json
import shutil

import pytest
import soundfile
from typer.testing import CliRunner

import runtime
from compress.cli import app
from compress.own_word import discriminant
from runtime.listen import listen, wav_blocks
from train.data.audio import decode

from .conftest import digest, sets

TINY = (
    "updates=4",
    "batch.seconds=6.0",
    "log.checkpoint_every=2",
    "log.log_every=1",
    "causal_tcn.channels=16",
    "running.scene_seconds=1.5",
)
TEXT = "Hey, Otter!"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a spotter, the call that made it, and its report."""
    out = tmp_path_factory.mktemp("own-word") / "hey-otter"
    words = ["keyword", TEXT, "--language", "en-us", "--clips", 100, *sets(TINY), "--out", out]
    answer = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return out, words, json.loads(answer.stdout)


@pytest.fixture(scope="module")
def takes(made, tmp_path_factory):
    """Four clips of the corpus as somebody's own recordings."""
    folder = tmp_path_factory.mktemp("takes") / "takes"
    folder.mkdir()
    speech = made[0] / "speech" / "keyword"
    for number, clip in enumerate(sorted(speech.glob("train-*.flac"))[:4]):
        soundfile.write(folder / f"{number}.wav", decode(clip), 16_000)
    return folder


def test_a_text_becomes_a_bundle_that_listens(made):
    out, _, report = made
    assert report == json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["keyword"] == "hey otter"
    model = runtime.load(report["bundle"])
    assert model.manifest.decision.keywords == ("hey otter",)
    assert model.manifest.decision.threshold_of("hey otter") == report["threshold"]
    assert model.manifest.measured["precision"] == "int8-dynamic"
    recording = out / "one.wav"
    soundfile.write(recording, decode(next((out / "talk").glob("test-*.flac"))), 16_000)
    assert all(event.label == "hey otter" for event in listen(model, wav_blocks(recording, 16_000)))


def test_the_report_tells_what_was_heard(made):
    report = made[2]
    (row,) = report["misses"]
    assert (row["said_by"], row["words"]) == ("synthetic voices, unheard", 10)
    assert row["from"] <= row["miss_ratio"] == row["missed"] / 10 <= row["to"]
    assert report["near_misses"]["clips"] == 20
    alarms = report["false_alarms"]
    assert alarms["in"] == "synthetic talk"
    assert alarms["per_hour_at_most"] > 3.0 / alarms["hours"] * 0.99
    assert set(report["notes"]) == {"misses", "false_alarms"}


def test_every_step_is_kept(made, call):
    out, words, report = made
    refused = call(*words)
    assert refused.code == 2
    assert "go on by --resume" in refused.error
    before = {name: digest(out / name) for name in ("speech", "talk", "negatives", "training")}
    again = call(*words, "--resume", "--json")
    assert json.loads(again.out) == report
    assert "counted in synthetic talk" in again.err  # told before the work begins, too
    assert before == {name: digest(out / name) for name in before}


def test_a_dry_run_tells_the_sounds_and_makes_nothing(call, tmp_path, takes):
    answer = call(
        "keyword", TEXT, "--recordings", takes, "--out", tmp_path / "out", "--dry-run", "--json"
    )
    planned = json.loads(answer.out)
    assert planned["sounds"]["en-us"] == "heɪ ɑːɾɚ"
    assert planned["own_takes"] == {"train": 3, "left_out": 1}
    assert not (tmp_path / "out").exists()


@pytest.fixture
def enrolment(made, takes, tmp_path):
    """A call that enrols, and where to."""
    out = tmp_path / "enrolled"
    words = ["keyword", TEXT, "--enroll", "--recordings", takes, "--out", out]
    return out, [*words, "--model", made[0] / "training", "--negatives", made[0] / "talk"]


def test_takes_are_enrolled_without_training(enrolment, call, monkeypatch):
    # Of four updates nobody can ask that a hundredth of other speech is farther than takes are.
    monkeypatch.setattr(discriminant, "_TAIL", 0.5)
    monkeypatch.setattr(discriminant, "_OTHER_SCENES", 40)
    _, words = enrolment
    planned = json.loads(call(*words, "--dry-run", "--json").out)
    assert (planned["takes"], planned["body"]) == (4, "causal_tcn")
    answer = call(*words, "--json")
    assert answer.code == 0, answer.err
    report = json.loads(answer.out)
    assert report["takes"] == 4
    assert 0.0 <= report["told_when_left_out"] <= 1.0
    assert ("takes" in report["notes"]) == (report["told_when_left_out"] < 0.8)
    assert "misses" not in report
    model = runtime.load(report["bundle"])
    assert model.labels == ("_unknown_", "hey otter")
    assert model.manifest.provenance["from"]["enrolled_in"]


def test_takes_that_a_model_does_not_tell_from_other_speech_are_refused(
    enrolment, call, monkeypatch
):
    monkeypatch.setattr(discriminant, "_TAIL", 1.0)  # beyond every other frame is too much to ask
    monkeypatch.setattr(discriminant, "_OTHER_SCENES", 40)
    out, words = enrolment
    answer = call(*words)
    assert answer.code == 1
    assert "cannot be told from other speech" in answer.error
    assert not (out / "enrolled").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--enroll needs --recordings"),
        (["--recordings", "two"], "3 takes or more, 10 at best, and --recordings has 2"),
        (["--recordings", "takes"], "--enroll needs --model"),
        (
            ["--recordings", "takes", "--set", "updates=1"],
            "--set is for training, and --enroll trains nothing",
        ),
        (
            ["--recordings", "takes", "--model", "nowhere", "--negatives", "takes"],
            "there is no folder nowhere",
        ),
    ],
)
def test_a_call_that_cannot_enrol_says_what_is_missing(flags, said, call, takes, tmp_path):
    two = tmp_path / "two"
    two.mkdir()
    for name in ("0.wav", "1.wav"):
        shutil.copy(takes / name, two)
    places = {"two": two, "takes": takes}
    words = [places.get(flag, flag) for flag in flags]
    answer = call("keyword", TEXT, "--enroll", *words, "--out", tmp_path / "out")
    assert answer.code in (1, 2)
    assert said in answer.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "a keyword is one or more words that can be said"),
        (["привет"], "choose another by --language"),
        ([TEXT, "--language", "xx"], "espeak-ng speaks no language 'xx'"),
        ([TEXT, "--model", "nowhere"], "there is no folder nowhere"),
        ([TEXT, "--recipe", "keywords-kwt"], "take spotter-tcn or a recipe with a table [running]"),
        ([TEXT, "--false-alarms-per-hour", "0"], "--false-alarms-per-hour must be above 0"),
        ([TEXT, "--negatives", "nowhere"], "the corpus folder nowhere does not exist"),
        ([TEXT, "--recordings", "nowhere"], "the corpus folder nowhere does not exist"),
        ([TEXT, "--noise", "nowhere"], "the corpus folder nowhere does not exist"),
    ],
)
def test_what_cannot_be_made_is_told_before_anything_is(words, said, call, tmp_path):
    answer = call("keyword", *words, "--out", tmp_path / "out")
    assert answer.code in (1, 2)
    assert said in answer.error
    assert not (tmp_path / "out").exists()


def test_without_espeak_the_way_out_is_told(call, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
    answer = call("keyword", TEXT, "--out", tmp_path / "out")
    assert answer.code == 1
    assert 'pip install "otolite[synthesis]"' in answer.error
