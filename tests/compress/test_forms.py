"""`compress export --form`: a causal model step by step, any model on windows."""

import json

import numpy as np
import pytest
import torch

import runtime
from compress import CompressError
from compress.forms import FormFlags, in_form
from runtime.replay import streamed
from train.errors import TrainError
from train.keywords_recipe import KeywordsRecipe
from train.models.causal_keyword_transformer import (
    CausalKeywordTransformer,
    CausalKeywordTransformerConfig,
)
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Conv, StreamingConfig, Wav2Vec2Config
from train.recipe import check
from train.tasks.keyword_step import KeywordStep
from train.tasks.keywords import KeywordModel, load_keywords, pooled, save_keywords

LABELS = ("_silence_", "no", "yes")
SIZES = {
    "patch_frames": 2,
    "embed_dim": 8,
    "num_heads": 2,
    "head_dim": 4,
    "ffn_dim": 12,
    "num_layers": 1,
    "left_ms": 80,
    "pooled_ms": 400,
}
RECIPE = {
    "task": "keywords",
    "body": "causal_keyword_transformer",
    "streaming": "incremental",
    "chunk_ms": 60,
    "causal_keyword_transformer": SIZES,
    "window_seconds": 0.5,
    "updates": 1,
    "optimizer": {"learning_rate": 1e-3},
    "batch": {"seconds": 4.0, "crop_seconds": 1.0, "min_seconds": 0.3},
}
WINDOWS = {**RECIPE, "body": "ds_cnn", "streaming": "sliding_window"}


def recipe_of(raw):
    return check(raw, KeywordsRecipe, "a test")


def model_of(raw):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if raw["body"] == "ds_cnn":
            return KeywordModel(DsCnn(DsCnnConfig(num_mels=8, channels=4, num_blocks=1)), LABELS)
        model = KeywordModel(
            CausalKeywordTransformer(CausalKeywordTransformerConfig(**SIZES)), LABELS
        )
        with torch.no_grad():
            model.classifier.weight.mul_(8)
        return model.eval()


def write_run(folder, raw):
    save_keywords(folder / "model", model_of(raw))
    (folder / "config.json").write_text(json.dumps({"recipe": raw, "from": {"data": "clips"}}))
    scores = {"labels": LABELS, "test": {"accuracy": 0.25, "clips": 4, "confusion": []}}
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        "causal": write_run(folder / "causal", RECIPE),
        "windows": write_run(folder / "windows", WINDOWS),
    }


def test_a_causal_run_becomes_a_bundle_that_streams_step_by_step(call, runs, corpus, tmp_path):
    out = tmp_path / "a.bundle"
    code, told, err = call("export", runs["causal"], "--out", out, "--json")
    assert code == 0, err
    rows = json.loads(told)
    assert {row["form"] for row in rows["verified"]} == {"offline", "incremental"}
    assert rows["states_size_bytes"] > 0
    model = runtime.load(out)
    assert model.manifest.streaming == runtime.manifest.Streaming(
        form="incremental", window_samples=6_400, hop_samples=960
    )
    assert call("doctor", out)[0] == 0
    step = KeywordStep(load_keywords(runs["causal"] / "model"), 3)
    waveform = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    with torch.inference_mode():
        expected = step.answers(torch.from_numpy(waveform[None]))[0].numpy()
    assert np.abs(streamed(model, waveform, [777] * 30) - expected).max() <= 1e-5


def test_it_is_written_in_8_bits_from_real_clips(call, runs, corpus, tmp_path):
    words = (
        "--precision",
        "int8-static",
        "--calibration",
        corpus,
        "--chunk-ms",
        200,
        "--sensitivity",
    )
    lenient = ("--min-snr-db", 3, "--max-accuracy-drop", 1)
    out = tmp_path / "a.bundle"
    code, told, err = call("export", runs["causal"], "--out", out, *words, *lenient, "--json")
    assert code == 0, err
    rows = json.loads(told)
    assert rows["valid"]["clips"] == 3
    assert rows["streams_snr_db"] >= 3
    layers = {row["layer"] for row in rows["layers"]}
    assert {"body.patch.conv", "body.layers.0.attention.qkv_proj", "classifier"} <= layers
    assert runtime.load(out).manifest.streaming.hop_samples == 3_200
    assert call("doctor", out)[0] == 0


def test_a_dry_run_tells_the_form(call, runs, tmp_path):
    def told(run, *words):
        code, out, err = call(
            "export", runs[run], "--out", tmp_path / "a.bundle", "--dry-run", "--json", *words
        )
        assert code == 0, err
        rows = json.loads(out)
        return rows["form"], rows["window_ms"], rows["hop_ms"]

    assert told("causal") == ("incremental", 400, 60)
    assert told("causal", "--chunk-ms", 20) == ("incremental", 400, 20)
    assert told("causal", "--form", "sliding-window") == ("sliding_window", 500, 100)
    assert told("windows", "--hop-ms", 50) == ("sliding_window", 500, 50)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("run", "words", "message"),
    [
        ("windows", ["--form", "incremental"], "--form incremental: DsCnn cannot run step by step"),
        ("windows", ["--chunk-ms", "80"], "--chunk-ms is how much a step hears"),
        (
            "causal",
            ["--length", "2"],
            "--length is for graphs of windows, and this model",
        ),
        ("causal", ["--format", "tflite", "--length", "2"], "leave it out, or say --form sliding"),
        ("causal", ["--hop-ms", "80"], "--hop-ms is the time between two windows"),
        ("causal", ["--chunk-ms", "30"], "must be a multiple of the 20 ms that this model hears"),
        ("causal", ["--chunk-ms", "420"], "at most the 400 ms that it judges; got 420"),
    ],
)
def test_what_cannot_run_is_one_line_and_writes_nothing(call, runs, tmp_path, run, words, message):
    for extra in ([], ["--dry-run"]):
        code, out, err = call("export", runs[run], "--out", tmp_path / "a.bundle", *words, *extra)
        assert code == 1
        assert message in err
        assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_any_body_runs_on_windows():
    for raw in (RECIPE, WINDOWS):
        model = model_of(raw)
        classifier, streaming = in_form(model, recipe_of(raw), FormFlags(form="sliding_window"))
        assert classifier is model
        assert (streaming.window_samples, streaming.hop_samples) == (8_000, 1_600)
    with pytest.raises(CompressError, match="DsCnn cannot run step by step"):
        in_form(model, recipe_of(WINDOWS), FormFlags(form="incremental"))


def test_a_recipe_names_no_form_that_its_body_cannot_have():
    with pytest.raises(TrainError, match="'incremental' needs a causal body, and 'ds_cnn' is"):
        recipe_of({**RECIPE, "body": "ds_cnn"})
    with pytest.raises(TrainError, match="chunk_ms must be 1 or more, got 0"):
        recipe_of({**RECIPE, "chunk_ms": 0})
    assert recipe_of({**WINDOWS}).streaming == "sliding_window"


def test_an_encoder_in_chunks_steps_by_whole_chunks():
    config = Wav2Vec2Config(
        conv_layers=(Conv(channels=4, kernel=400, stride=320),),
        conv_norm="layer",
        embed_dim=8,
        num_heads=(2,),
        ffn_dim=(8,),
        head_dim=4,
        pos_conv_kernel=4,
        pos_conv_groups=2,
        streaming=StreamingConfig(chunk_frames=4, left_frames=8),
    )
    model = KeywordModel(pooled(Wav2Vec2Encoder(config)), LABELS)
    recipe = recipe_of({**RECIPE, "body": "wav2vec2"})
    step, streaming = in_form(model, recipe, FormFlags(chunk_ms=160))
    assert (step.chunk_frames, streaming.hop_samples) == (8, 2_560)
    with pytest.raises(CompressError, match="multiple of the 80 ms that this model hears"):
        in_form(model, recipe, FormFlags(chunk_ms=100))
