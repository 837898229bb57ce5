"""A causal model from fine-tuning to a stream of steps, in both formats."""

import json

import pytest

from runtime.bundle import read_bundle

from .conftest import KEYWORDS, sets

SMALL = (
    "causal_keyword_transformer.embed_dim=8",
    "causal_keyword_transformer.num_layers=1",
    "causal_keyword_transformer.ffn_dim=8",
)


def test_a_causal_model_is_tuned_exported_checked_and_heard(corpus, recording, call, tmp_path):
    pytest.importorskip("litert_torch", reason="the extra 'tflite' is not installed")
    run, bundle = tmp_path / "keywords", tmp_path / "causal.bundle"
    words = ("--data", corpus, "--out", run, *sets((*KEYWORDS, *SMALL)))
    answer = call("finetune", "keywords-kwt-causal", *words, "--json")
    assert answer.code == 0, answer.err
    formats = ("--format", "onnx", "--format", "tflite")
    answer = call("export", run, "--form", "incremental", *formats, "--out", bundle, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["states_size_bytes"] > 0
    manifest = read_bundle(bundle).manifest
    assert (manifest.streaming.form, manifest.streaming.hop_samples) == ("incremental", 1_280)
    assert manifest.model_files == ("model.onnx", "model.tflite")

    answer = call("doctor", bundle, "--json")
    assert answer.code == 0, answer.err
    report = json.loads(answer.out)
    assert report["passed"] is True
    assert report["form"] == "incremental"
    assert {row["file"] for row in report["replayed"]} == set(manifest.model_files)

    answer = call("listen", bundle, "--wav", recording, "--threshold", 0.01, "--json")
    assert answer.code == 0, answer.err
    events = [json.loads(line) for line in answer.out.splitlines()]
    assert events
    assert all(event["label"] in ("no", "yes") for event in events)
    assert all(0.0 <= event["start_s"] < event["end_s"] <= 3.5 for event in events)
