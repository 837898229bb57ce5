"""`compress export` of phones: a bundle whose stream is what was trained, and what is refused."""

import json
from itertools import cycle

import numpy as np
import pytest
import soundfile
import torch

import runtime
from compress import CompressError
from compress.exporting import DecisionFlags, export_run, finished
from compress.forms import FormFlags, phone_steps
from compress.phone_clips import choose_spoken
from train.data.audio import PackedAudio
from train.models.causal_tcn import CausalTcn, CausalTcnConfig
from train.phones_recipe import PhonesRecipe
from train.recipe import check
from train.tasks.phones import LABELS, PhoneModel, load_phones, phone_error_rate, save_phones

SIZES = {"channels": 8, "dilations": [1, 2]}
RECIPE = {
    "task": "phones",
    "body": "causal_tcn",
    "causal_tcn": SIZES,
    "updates": 1,
    "optimizer": {"learning_rate": 1e-3},
    "batch": {"seconds": 4.0, "crop_seconds": 1.0, "min_seconds": 0.3},
}
SCORES = {"test": {"recordings": 2, "phones": 9, "phone_error_rate": 0.75}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a finished training leaves, of a model that was never trained."""
    folder = tmp_path_factory.mktemp("runs") / "phones"
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = PhoneModel(CausalTcn(CausalTcnConfig(channels=8, dilations=(1, 2))))
        model.classifier.weight.mul_(8)
    save_phones(folder / "model", model)
    (folder / "config.json").write_text(json.dumps({"recipe": RECIPE, "from": {"data": "said"}}))
    (folder / "scores.json").write_text(json.dumps(SCORES))
    return folder


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "phones.bundle"
    export_run(run, out, flags=DecisionFlags(), form=FormFlags(chunk_ms=120), licence="CC0")
    return out


def test_a_bundle_streams_what_was_trained(run, bundle):
    model = runtime.load(bundle)
    stream = model.stream()
    waveform = np.random.default_rng(0).normal(0, 0.1, 17_001).astype(np.float32)
    parts = [stream.push(part) for part in np.array_split(waveform, 13)] + [stream.flush()]
    heard = np.exp(np.concatenate([part.log_posteriors for part in parts]))
    trained = load_phones(run / "model").eval()
    frame = trained.body.hop_samples
    num_frames = -(-(len(waveform) + 4_000) // frame)  # as many as an error rate is measured on
    padded = np.pad(waveform, (0, num_frames * frame - len(waveform)))
    with torch.inference_mode():
        expected = trained(torch.from_numpy(padded[None]))[0].softmax(-1).numpy()
    assert heard.shape == expected.shape
    assert np.abs(heard - expected).max() <= 1e-5


def test_its_manifest_tells_the_run(bundle):
    manifest = runtime.load(bundle).manifest
    assert (manifest.name, manifest.task, manifest.labels) == ("phones", "phones", LABELS)
    assert manifest.answer_shape == (3, len(LABELS))
    assert manifest.measured["test"] == SCORES["test"]
    assert manifest.provenance["recipe"]["task"] == "phones"
    assert manifest.provenance["licence_of_training_data"] == "CC0"


def test_doctor_replays_it(call, bundle):
    code, told, err = call("doctor", bundle, "--json")
    assert code == 0, err
    assert {row["form"] for row in json.loads(told)["replayed"]} == {"offline", "incremental"}


def test_a_dry_run_tells_its_frames(call, run, tmp_path):
    out = tmp_path / "a.bundle"
    code, told, err = call("export", run, "--out", out, "--dry-run", "--json")
    assert code == 0, err
    rows = json.loads(told)
    assert (rows["frames"], rows["hop_ms"], rows["form"]) == (4, 160, "incremental")
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--form", "sliding-window"], "a phone model tells every frame once"),
        (["--hop-ms", "100"], "a phone model tells every frame once"),
        (["--chunk-ms", "50"], "must be a multiple of the 40 ms that this model hears"),
        (["--length", "2"], "--length is for graphs of windows"),
        (["--threshold", "0.8"], "is a run of phones, of which every frame is told"),
        (["--patience", "2"], "is a run of phones, of which every frame is told"),
    ],
)
def test_what_is_not_for_phones_is_one_line_and_writes_nothing(call, run, tmp_path, words, message):
    for extra in ([], ["--dry-run"]):
        code, out, err = call("export", run, "--out", tmp_path / "a.bundle", *words, *extra)
        assert code == 1
        assert message in err
        assert err.count("\n") == 1
        assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["listen", "calibrate", "evaluate"])
def test_a_verb_of_keywords_is_refused_in_one_line(call, bundle, tmp_path, verb):
    words = {
        "listen": [bundle, "--wav", tmp_path / "none.wav"],
        "calibrate": [bundle, "--false-alarms-per-hour", 1, "--negatives", tmp_path],
        "evaluate": [bundle, tmp_path],
    }
    code, out, err = call(verb, *words[verb])
    assert code == 1
    assert "'phones' is a bundle of phones, which has no keywords to listen for" in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Hiss of several lengths that says it is phones; one is longer than training takes."""
    root = tmp_path_factory.mktemp("spoken")
    rng = np.random.default_rng(0)
    lines = ["path,text,split,phones"]
    for number, partition in enumerate([*["train"] * 5, "valid", "valid", "test"]):
        seconds = 1.5 if number == 4 else 0.5 + number / 20
        waveform = rng.normal(0, 0.1, round(seconds * 16_000))
        soundfile.write(root / f"{number}.wav", waveform, 16_000)
        lines.append(f"{number}.wav,,{partition},AA B AA K")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("precision", ["int8-static", "int8-dynamic"])
def test_it_is_written_in_8_bits_where_phones_stay_right(call, run, spoken, tmp_path, precision):
    out = tmp_path / "a.bundle"
    words = ("--precision", precision, "--calibration", spoken, "--json")
    lenient = ("--min-snr-db", 3, "--max-accuracy-drop", 1)
    code, told, err = call("export", run, "--out", out, *words, *lenient)
    assert code == 0, err
    rows = json.loads(told)
    assert (rows["calibration_clips"], rows["valid"]["clips"]) == (4, 2)
    assert rows["streams_snr_db"] >= 3
    assert rows["float32"]["test"] == SCORES["test"]
    assert rows["model_size_bytes"] < rows["float32"]["model_size_bytes"]
    assert call("doctor", out)[0] == 0

    code, told, err = call("export", run, "--out", tmp_path / "b", *words, "--dry-run")
    assert code == 0, err
    rows = json.loads(told)
    assert (rows["precision"], rows["calibration_clips"], rows["compared_clips"]) == (
        precision, 4, 2,
    )  # fmt: skip


def test_what_loses_phones_in_8_bits_is_not_written(call, run, spoken, tmp_path, monkeypatch):
    rates = cycle([0.5, 0.4])  # in 8 bits first, then in float
    monkeypatch.setattr("compress.phone_clips.error_rate", lambda *_: next(rates))
    words = ("--precision", "int8-static", "--calibration", spoken, "--min-snr-db", 3)
    code, _, err = call("export", run, "--out", tmp_path / "a.bundle", *words)
    assert code == 1
    assert "accuracy falls from 0.6000 to 0.5000, 0.005 may be lost" in err
    assert list(tmp_path.iterdir()) == []


def test_the_gates_accuracy_is_what_a_training_measures(run, spoken):
    model = load_phones(run / "model")
    step, _ = phone_steps(model, FormFlags(chunk_ms=120))
    recipe = check(RECIPE, PhonesRecipe, "a test")
    chosen = choose_spoken(spoken, recipe, step, seed=0)
    evidence = chosen.evidence()
    answers = list(step.answers(torch.from_numpy(evidence.windows)).numpy())
    packed = PackedAudio.of(chosen.compared, progress=False)
    rate = phone_error_rate(model, chosen.compared, packed, chosen.said)
    assert evidence.accuracy(answers) == pytest.approx(1.0 - rate)
    assert 0.0 < rate != 1.0  # some phones are heard


def test_without_a_valid_partition_half_of_the_train_one_is_compared(run, spoken, tmp_path):
    for path in spoken.glob("*.wav"):
        (tmp_path / path.name).symlink_to(path)
    text = (spoken / "manifest.csv").read_text().replace(",valid,", ",train,")
    (tmp_path / "manifest.csv").write_text(text)
    step, _ = phone_steps(load_phones(run / "model"), FormFlags())
    chosen = choose_spoken(tmp_path, check(RECIPE, PhonesRecipe, "a test"), step, seed=0)
    assert (len(chosen.calibration), len(chosen.compared)) == (3, 3)
    assert not set(chosen.calibration.ids) & set(chosen.compared.ids)


def test_what_starts_from_keywords_says_that_a_run_is_of_phones(run):
    with pytest.raises(CompressError, match="is a run of phones, and this wants one of keywords"):
        finished(run)


def test_a_step_is_no_longer_than_what_the_model_looks_back_on():
    model = PhoneModel(CausalTcn(CausalTcnConfig(channels=8, dilations=(1,), kernel=2)))
    step, streaming = phone_steps(model, FormFlags())
    assert streaming.hop_samples == step.chunk_samples <= streaming.window_samples
