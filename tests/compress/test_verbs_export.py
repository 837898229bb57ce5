"""`compress export` in 8 bits: clips of a corpus, the gate, and calls that are wrong."""

import csv
import json

import numpy as np
import pytest
import soundfile
import torch

from compress.calibration import MAX_CALIBRATION_CLIPS
from compress.exporting import Int8Flags, clips_of_a_run
from export.exportable import Posteriors
from export.quantize import Precision
from export.targets import onnx as target
from train.errors import DataError
from train.keywords_recipe import KeywordsRecipe
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.recipe import check
from train.tasks.keywords import KeywordModel, load_keywords, save_keywords

LABELS = ("_silence_", "no", "yes")
RECIPE = {
    "task": "keywords",
    "body": "ds_cnn",
    "window_seconds": 0.5,
    "updates": 1,
    "optimizer": {"learning_rate": 1e-3},
    "batch": {"seconds": 4.0, "crop_seconds": 1.0, "min_seconds": 0.3},
}


@pytest.fixture(scope="module")
def recipe():
    return check(RECIPE, KeywordsRecipe, "a test")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a finished fine-tuning leaves, of a model that was never trained."""
    folder = tmp_path_factory.mktemp("run") / "keywords"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = KeywordModel(DsCnn(DsCnnConfig(num_mels=12, channels=8, num_blocks=1)), LABELS)
    save_keywords(folder / "model", model)
    (folder / "config.json").write_text(json.dumps({"recipe": RECIPE, "from": {"data": "clips"}}))
    scores = {"labels": LABELS, "test": {"accuracy": 0.25, "clips": 4, "confusion": []}}
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


@pytest.fixture(scope="module")
def graph(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    target.write(Posteriors(load_keywords(run / "model")), path, window_samples=8_000)
    return path.read_bytes()


@pytest.fixture
def quick(graph, monkeypatch):
    """Writing the graph takes no time, so that a test of what follows is quick."""
    monkeypatch.setattr(
        target, "write", lambda module, path, *, window_samples: path.write_bytes(graph)
    )


# An untrained model's answers lie close together: what the gate asks of trained ones is not meant.
LENIENT = ("--min-snr-db", 3, "--max-accuracy-drop", 1)


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-static"])
def test_a_run_becomes_a_bundle_in_8_bits(call, run, quick, corpus, tmp_path, precision):
    words = ["export", run, "--precision", precision, "--calibration", corpus, *LENIENT, "--json"]
    code, out, err = call(*words, "--out", tmp_path / "a.bundle", "--seed", 3)
    assert code == 0, err
    told = json.loads(out)
    assert told["precision"] == precision
    assert told["calibration_clips"] == 18  # the corpus' train partition
    assert told["valid"]["clips"] == 3
    assert told["float32"]["test"] == {"accuracy": 0.25, "clips": 4}
    assert {row["form"] for row in told["verified"]} == {"offline", "sliding_window"}
    assert all(row["largest_difference"] <= row["tolerance"] for row in told["verified"])
    text_words = [word for word in words if word != "--json"]
    code, text, _ = call(*text_words, "--out", tmp_path / "b.bundle", "--seed", 3)
    assert code == 0
    table = text[text.index("verified") :].splitlines()
    assert table[1].split()[:4] == ["file", "engine", "precision", "form"]
    assert len(table) == 2 + len(told["verified"])
    graphs = [(tmp_path / f"{name}.bundle" / "model.onnx").read_bytes() for name in "ab"]
    assert graphs[0] == graphs[1]
    assert call("doctor", tmp_path / "a.bundle")[0] == 0


def test_a_dry_run_counts_the_clips_and_writes_nothing(call, run, corpus, tmp_path):
    out = tmp_path / "a.bundle"
    words = ("export", run, "--out", out, "--precision", "int8-static", "--calibration", corpus)
    code, told, err = call(*words, "--dry-run", "--json")
    assert code == 0, err
    rows = json.loads(told)
    assert (rows["precision"], rows["calibration_clips"]) == ("int8-static", 18)
    assert (rows["compared_clips"], rows["compared_clips_are_labelled"]) == (3, True)
    assert rows["quantizers"] == ["onnxruntime"]
    both = ("--format", "tflite", "--format", "onnx", "--quantizer", "optimum")
    code, told, err = call(*words, *both, "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(told)["quantizers"] == ["ai-edge-quantizer", "optimum"]
    code, told, err = call(*words, *both[:2], *both[4:], "--dry-run")
    assert (code, told) == (1, "")
    assert "optimum does not quantize tflite, which ai-edge-quantizer can" in err
    assert (rows["formats"], rows["further_lengths_ms"]) == (["onnx"], [])
    assert not out.exists()


def test_a_dry_run_tells_formats_and_lengths_once_each(call, run, tmp_path):
    words = ["--format", "tflite", "--format", "onnx", "--format", "tflite"]
    words += ["--length", "1.25", "--length", "0.5", "--length", "1.25"]  # 0.5 s is the window
    code, told, err = call("export", run, "--out", tmp_path / "a", *words, "--dry-run", "--json")
    assert code == 0, err
    rows = json.loads(told)
    assert (rows["formats"], rows["further_lengths_ms"]) == (["tflite", "onnx"], [1250])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--precision", "int8-static"], 2, "needs --calibration"),
        (["--precision", "int8-dynamic", "--keep-float", "classifier"], 2, "needs --calibration"),
        (["--keep-float", "x", "--sensitivity"], 2, "--keep-float, --sensitivity speak of 8 bits"),
        (["--quantizer", "optimum"], 2, "--quantizer speak of 8 bits"),
        (["--window-ms", "500"], 2, "--window-ms is for a checkpoint of transformers, and"),
        (["--min-snr-db", "20"], 2, "--min-snr-db speak of 8 bits"),
        (["--precision", "int4"], 2, "int4"),
        (["--format", "tflight"], 2, "tflight"),
        (["--length", "2"], 1, "onnx takes any length; add --format tflite"),
        (["--length", "0.5"], 1, "onnx takes any length; add --format tflite"),  # the window
        (["--format", "tflite", "--ort", "BESIDE"], 2, "--ort is made of an ONNX graph, and"),
        (["--format", "tflite", "--precision", "int8-dynamic", "--calibration", "CORPUS",
          "--quantizer", "optimum"],
         1, "optimum does not quantize tflite, which ai-edge-quantizer can"),
        (["--format", "tflite", "--length", "0"], 1, "--length must give 1 to"),
        (["--precision", "int8-static", "--calibration", "NOWHERE"], 1, "does not exist"),
        (["--precision", "int8-static", "--calibration", "CORPUS", "--keep-float", "body.steam*"],
         1, "no layer is called 'body.steam*'; this model has body.frontend"),
        (["--precision", "int8-static", "--calibration", "CORPUS", "--keep-float", "*"],
         1, "no layer is left to quantize; export float32"),
        (["--precision", "int8-static", "--calibration", "CORPUS", "--min-snr-db", "-3"],
         1, "min_snr_db must lie in (0, 100], got -3"),
        (["--precision", "int8-static", "--calibration", "CORPUS", "--min-snr-db", "100"],
         1, "int8-static was not written"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(call, run, quick, corpus, tmp_path, words, code, message):
    words = [str(corpus) if word == "CORPUS" else word for word in words]
    words = [str(tmp_path / "no") if word in ("NOWHERE", "BESIDE") else word for word in words]
    got, out, err = call("export", run, "--out", tmp_path / "a.bundle", *words)
    assert got == code
    assert message in " ".join(err.replace("│", " ").split())
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def clips(root, recipe, seed=0):
    int8 = Int8Flags(precision=Precision.INT8_STATIC, calibration=root, seed=seed)
    return clips_of_a_run(int8, recipe, LABELS)


def test_clips_are_drawn_by_the_seed_and_never_judged_by_what_ranges_saw(corpus, recipe):
    audio = clips(corpus, recipe)
    assert {cut.partition for cut in audio.calibration} == {"train"}
    assert {cut.partition for cut in audio.compared} == {"valid"}
    evidence = audio.evidence()
    assert evidence.calibration.shape == (18, 8_000)
    assert evidence.windows.shape == (3, 8_000)
    said = [cut.supervisions[0].text for cut in audio.compared]
    assert [LABELS[number] for number in evidence.wanted] == said
    assert list(clips(corpus, recipe).calibration.ids) == list(audio.calibration.ids)


def write_corpus(root, rows):
    root.mkdir()
    rng = np.random.default_rng(0)
    for name, *_ in rows:
        soundfile.write(root / name, rng.normal(0, 0.1, 6_400), 16_000)
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label", "speaker", "split"), *rows])
    return root


def test_a_seed_chooses_among_many(tmp_path, recipe):
    rows = [(f"{n:03d}.wav", "no", "s", "train") for n in range(MAX_CALIBRATION_CLIPS + 20)]
    root = write_corpus(tmp_path / "many", [*rows, ("v.wav", "no", "t", "valid")])
    first, second = (clips(root, recipe, seed=seed).calibration for seed in (0, 1))
    assert len(first) == len(second) == MAX_CALIBRATION_CLIPS
    assert list(first.ids) != list(second.ids)
    assert list(first.ids) == sorted(first.ids)


def test_without_a_valid_partition_other_clips_are_compared_and_accuracy_is_not_told(
    tmp_path, recipe
):
    rows = [(f"{n}.wav", "no", "s", "train") for n in range(9)]
    audio = clips(write_corpus(tmp_path / "train", rows), recipe)
    assert audio.labels is None
    assert audio.evidence().wanted is None
    assert (len(audio.calibration), len(audio.compared)) == (5, 4)
    assert not set(audio.calibration.ids) & set(audio.compared.ids)


def test_words_that_the_model_does_not_know_are_not_compared(tmp_path, recipe):
    rows = [("a.wav", "tree", "s", "train"), ("b.wav", "tree", "t", "valid")]
    rows += [("c.wav", "no", "u", "valid")]
    audio = clips(write_corpus(tmp_path / "words", rows), recipe)
    assert [cut.supervisions[0].text for cut in audio.compared] == ["no"]
    assert len(audio.calibration) == 1  # ranges take any speech


def test_a_corpus_without_a_train_partition_is_refused(tmp_path, recipe):
    root = write_corpus(tmp_path / "valid", [("a.wav", "no", "s", "valid")])
    with pytest.raises(DataError, match="has no 'train' recordings"):
        clips(root, recipe)


def test_a_minimal_builds_files_lie_beside_the_bundle(call, run, quick, tmp_path):
    out, beside = tmp_path / "a.bundle", tmp_path / "a.ort"
    words = ("export", run, "--out", out, "--ort", beside, "--json")
    code, told, _ = call(*words, "--dry-run")
    assert (code, json.loads(told)["ort"]) == (0, str(beside))
    assert list(tmp_path.iterdir()) == []
    code, told, err = call(*words)
    assert code == 0, err
    told = json.loads(told)["ort"]
    assert told["folder"] == str(beside)
    assert told["largest_difference_from_onnx"] <= 1e-5
    assert told["model_size_bytes"] == (beside / "model.ort").stat().st_size
    assert not list(out.glob("*.ort"))
    code, _, err = call("export", run, "--out", out, "--ort", out / "ort")
    assert code == 1
    assert "cannot hold one another" in err
    assert call("doctor", out)[0] == 0
