"""`compress export` of a classifier of transformers: what is told before, refused, and written."""

import json
import sys

import pytest
import tiny_transformers

ARCHITECTURE = "Wav2Vec2ForSequenceClassification"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers") / "keywords"
    tiny_transformers.save(folder, ARCHITECTURE)
    return folder


@pytest.fixture
def without_optimum(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "optimum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optimum", None)


def test_a_dry_run_tells_the_facts_without_optimum(call, model, corpus, tmp_path, without_optimum):
    out = tmp_path / "a.bundle"
    code, text, err = call("export", model, "--out", out, "--dry-run", "--json")
    assert code == 0, err
    rows = json.loads(text)
    assert (rows["architecture"], rows["labels"]) == (ARCHITECTURE, ["_silence_", "no", "yes"])
    assert (rows["window_ms"], rows["normalizes_windows"]) == (1_000, True)
    assert (rows["form"], rows["formats"]) == ("sliding_window", ["onnx"])
    assert rows["precision"] == "float32"
    words = ("--precision", "int8-static", "--quantizer", "optimum", "--calibration", corpus)
    code, text, err = call("export", model, "--out", out, *words, "--dry-run", "--json")
    assert code == 0, err
    rows = json.loads(text)
    assert (rows["precision"], rows["quantizers"]) == ("int8-static", ["optimum"])
    assert (rows["calibration_clips"], rows["compared_clips"]) == (18, 3)
    assert rows["compared_clips_are_labelled"] is True
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--window-ms", "49"], "--window-ms must be 50 or more"),
        (["--form", "incremental"], f"{ARCHITECTURE} attends to all of what it gets"),
        (["--chunk-ms", "20"], "--form incremental and --chunk-ms are for causal models"),
        (["--format", "tflite"], "--format must be onnx for a checkpoint of transformers"),
        (["--format", "onnx", "--format", "tflite"], "got onnx and tflite; leave it out"),
        (["--length", "2"], "takes any length; leave it out"),
    ],
)
def test_what_cannot_be_is_one_line(call, model, tmp_path, without_optimum, words, message):
    for extra in ([], ["--dry-run"]):
        code, out, err = call("export", model, "--out", tmp_path / "a.bundle", *words, *extra)
        assert code == 1
        assert message in err
        assert len(err.strip().splitlines()) == 1
        assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_without_optimum_nothing_is_written(call, model, tmp_path, without_optimum):
    code, out, err = call("export", model, "--out", tmp_path / "a.bundle")
    assert (code, out) == (1, "")
    assert 'pip install "otolite[optimum]" in an environment of its own' in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_is_sent_another_way(call, model, tmp_path):
    config = json.loads((model / "config.json").read_text())
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["HubertModel"]}))
    code, _, err = call("export", folder, "--out", tmp_path / "a.bundle")
    assert code == 1
    assert "compress import takes it in, compress finetune gives it labels" in err


def test_something_else_than_a_bundle_is_not_replaced(call, model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = call("export", model, "--out", tmp_path)
    assert code == 1
    assert "is no bundle to replace" in err


@pytest.mark.parametrize("precision", ["float32", "int8-dynamic", "int8-static"])
def test_a_checkpoint_becomes_a_bundle(call, model, corpus, tmp_path, precision):
    pytest.importorskip("optimum.onnxruntime")
    out = tmp_path / "a.bundle"
    words = ["export", model, "--out", out, "--window-ms", 500, "--hop-ms", 100, "--licence", "MIT"]
    words += ["--form", "sliding-window", "--ort", tmp_path / "a.ort"]
    if precision != "float32":  # untrained: what the gate asks of trained ones is not meant
        words += ["--precision", precision, "--quantizer", "optimum", "--calibration", corpus]
        words += ["--max-accuracy-drop", 1, "--min-snr-db", 3]
        words += ["--keep-float", "*conv_layers*", "--keep-float", "*pos_conv*"]
    code, text, err = call(*words, "--json")
    assert code == 0, err
    told = json.loads(text)
    assert told["precision"] == precision
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["labels"] == ["_silence_", "no", "yes"]
    assert manifest["decision"]["keywords"] == ["no", "yes"]
    streaming = manifest["streaming"]
    assert (streaming["form"], streaming["window_samples"]) == ("sliding_window", 8_000)
    assert streaming["hop_samples"] == 1_600
    assert told["ort"]["model_size_bytes"] == (tmp_path / "a.ort" / "model.ort").stat().st_size
    provenance = manifest["provenance"]
    assert (provenance["architecture"], provenance["imported_from"]) == (ARCHITECTURE, model.name)
    assert len(provenance["sha256"]["model.safetensors"]) == 64
    assert set(provenance["versions"]) == {"optimum-onnx", "transformers", "torch"}
    assert all(row["largest_difference"] <= row["tolerance"] for row in told["verified"])
    if precision != "float32":
        assert told["quantizer"] == "optimum"
        assert told["float32"]["largest_difference_from_torch"] <= 1e-5
        assert told["model_size_bytes"] < told["float32"]["model_size_bytes"]
    assert call("doctor", out)[0] == 0
