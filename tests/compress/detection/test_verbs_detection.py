"""`compress evaluate` and `compress calibrate` on a bundle that runs, from end to end."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from runtime.bundle import MANIFEST_FILE, read_bundle
from runtime.manifest import digest_of
from runtime.stream import load

RATES = ("--rate", 60, "--rate", 2)


def heard(bundle, folder, names):
    """Events of the runtime's own streams, behind no gate, by label."""
    labels = []
    for name in names:
        waveform, _ = soundfile.read(folder / name, dtype="float32")
        stream = load(bundle).stream(gate=False)
        labels += [event.label for event in [*stream.push(waveform), *stream.flush()]]
    return {label: labels.count(label) for label in ("no", "yes")}


def test_an_evaluation_tells_misses_alarms_and_latency(
    call, tones, words, long_audio, noises, tmp_path
):
    said = ["evaluate", tones, words, "--negatives", long_audio, *RATES, "--json"]
    code, out, err = call(*said, "--noise", noises, "--snr-db", 20, "--out", tmp_path / "det.png")
    assert code == 0, err
    told = json.loads(out)
    assert (told["words"], told["other_clips"]) == (12, 6)
    assert told["ends_of_words_by"] == "energy"
    rows = {row["keyword"]: row for row in told["false_alarms"]}
    names = [f"{number:02d}.flac" for number in range(1, 12, 2)]
    events = heard(tones, long_audio, names)
    assert events["yes"] > 0
    assert rows["yes"]["false_alarms"] == events["yes"] + 6  # each other clip sounds like one
    assert rows["no"]["false_alarms"] == events["no"]
    assert rows["all"]["per_hour"] == pytest.approx(
        (sum(events.values()) + 6) / rows["all"]["hours"]
    )
    assert rows["all"]["per_hour_at_most"] > rows["all"]["per_hour"]
    misses = {(row["condition"], row["keyword"]): row for row in told["misses"]}
    assert len(misses) == 9  # clean, noise and babble; yes, no and all
    for row in misses.values():
        assert row["miss_ratio_at_2_per_hour"] is None  # an alarm in half an hour: not heard
        assert 0.0 <= row["miss_ratio_from"] <= row["miss_ratio"] <= row["miss_ratio_to"] <= 1.0
    clean = misses["clean", "all"]
    assert (clean["words"], clean["miss_ratio"], clean["extra_events"]) == (12, 0.0, 0)
    assert -400.0 <= clean["latency_ms_median"] <= clean["latency_ms_p90"] <= 300.0
    assert any(note.startswith("2 per hour takes 0.5 h") for note in told["notes"])
    for curve in told["curves"].values():
        thresholds = [point["threshold"] for point in curve]
        assert thresholds == sorted(thresholds)
    assert imread(tmp_path / "det.png").ndim == 3
    assert call(*said, "--noise", noises, "--snr-db", 20)[1] == out.replace(
        f', "plot": "{tmp_path / "det.png"}"', ""
    )


def test_words_in_rooms_and_other_words_alone_make_an_evaluation_too(call, tones, words, noises):
    code, out, err = call("evaluate", tones, words, "--rooms", "--noise", noises, *RATES)
    assert code == 0, err
    assert "no babble" in out
    assert "—" in out
    assert "noise 10 dB" in out


def test_a_calibration_keeps_its_rate_on_the_audio_that_it_heard(
    call, tones, words, long_audio, tmp_path
):
    before = (tones / MANIFEST_FILE).read_bytes()
    said = ["calibrate", tones, "--negatives", long_audio, "--false-alarms-per-hour", 130]
    code, out, err = call(*said, "--positives", words, "--dry-run", "--json")
    assert code == 0, err
    assert (tones / MANIFEST_FILE).read_bytes() == before
    planned = json.loads(out)
    code, out, err = call(*said, "--positives", words, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["keywords"] == planned["keywords"]
    assert told["partitions_of_negatives"] == ["train"]  # the rest is left for an evaluation
    assert told["false_alarms_allowed"] == 2  # in a minute
    assert told["hours"] == pytest.approx(1 / 60)

    manifest = read_bundle(tones).manifest  # its digest fits
    rows = {row["keyword"]: row for row in told["keywords"]}
    assert manifest.decision.thresholds == {word: row["threshold"] for word, row in rows.items()}
    assert manifest.decision.threshold == 0.6
    assert manifest.measured["calibration"]["hours"] == told["hours"]
    events = heard(tones, long_audio, [f"{number:02d}.flac" for number in range(0, 12, 2)])
    assert {word: row["false_alarms"] for word, row in rows.items()} == events
    assert sum(events.values()) <= 2
    for row in rows.values():
        assert row["words"] == 3
        assert 0.0 <= row["miss_ratio_from"] <= row["miss_ratio"] <= row["miss_ratio_to"] <= 1.0


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_rates_that_cannot_be_are_wrong_calls(call, tones, words, long_audio, rate):
    said = ["calibrate", tones, "--negatives", long_audio, f"--false-alarms-per-hour={rate}"]
    code, out, err = call(*said)
    assert (code, out) == (2, "")
    assert "must be above 0" in err
    code, out, err = call("evaluate", tones, words, f"--rate={rate}")
    assert (code, out) == (2, "")
    assert "must be above 0" in err


def test_too_few_hours_are_refused_unless_they_are_allowed(call, tones, long_audio):
    said = ["calibrate", tones, "--negatives", long_audio, "--false-alarms-per-hour", 0.5]
    code, out, err = call(*said)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "0.02 h of negatives say nothing about 0.5" in err
    code, out, err = call(*said, "--allow-short", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["false_alarms"] == told["false_alarms_allowed"] == 0
    assert told["per_hour_at_most"] == pytest.approx(-np.log(0.05) * 60)


def test_bad_inputs_are_one_line(call, tones, words, long_audio, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    rate = ["--false-alarms-per-hour", 100]
    unlabelled = tmp_path / "unlabelled"
    shutil.copytree(long_audio, unlabelled)
    other_task = tmp_path / "other.bundle"
    shutil.copytree(tones, other_task)
    raw = json.loads((other_task / MANIFEST_FILE).read_text())
    raw["task"] = "melodies"
    raw["digest"] = digest_of(raw)
    (other_task / MANIFEST_FILE).write_text(json.dumps(raw))
    packed = tmp_path / "tones.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in tones.iterdir():
            archive.write(file, file.name)
    only_words = tmp_path / "only"
    shutil.copytree(words, only_words)
    lines = (only_words / "manifest.csv").read_text().splitlines()
    kept = [line for line in lines if ",other," not in line]
    (only_words / "manifest.csv").write_text("\n".join(kept) + "\n")
    for said, code_expected, reason in (
        (["calibrate", tones, "--negatives", empty, *rate], 1, "holds no audio"),
        (["calibrate", tones, "--negatives", tmp_path / "none", *rate], 1, "does not exist"),
        (["calibrate", tones, *rate], 2, "--negatives"),
        (["calibrate", tones, "--negatives", words, *rate, "--least-threshold", 0], 2, "(0, 1]"),
        (["calibrate", packed, "--negatives", long_audio, *rate], 2, "is a zip"),
        (["calibrate", other_task, "--negatives", long_audio, *rate], 1, "'melodies'"),
        (["evaluate", other_task, words], 1, "'melodies'"),
        (["evaluate", tones, empty], 1, "holds no audio"),
        (["evaluate", tones, unlabelled], 1, "no 'test' clip is labelled with a keyword"),
        (["evaluate", tones, only_words], 1, "give --negatives"),
        (["evaluate", tones, words, "--snr-db", "nan"], 2, "must be finite"),
        (["evaluate", tmp_path / "no.bundle", words], 1, "no such bundle"),
    ):
        code, out, err = call(*said)
        assert (code, out) == (code_expected, ""), err
        assert reason in err
        assert "Traceback" not in err
    code, out, err = call("evaluate", packed, words, *RATES, "--json")
    assert code == 0, err
