"""Exported = torch, and a bundle is whole or not there."""

import errno
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import runtime
from export import ExportError
from export.bundle import export_keywords
from export.exportable import Posteriors
from export.layers import layers_of
from export.targets import onnx as onnx_target
from export.verify import TOLERANCE, largest_difference, odd_lengths, probe
from runtime.backends.onnx import Engine
from runtime.bundle import read_bundle
from runtime.manifest import Decision, Streaming, Tensor
from train.models.causal_keyword_transformer import (
    CausalKeywordTransformer,
    CausalKeywordTransformerConfig,
)
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.models.keyword_transformer import KeywordTransformer
from train.models.keyword_transformer_config import KeywordTransformerConfig
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Wav2Vec2Config, paper_conv_layers
from train.tasks.keywords import KeywordModel, PooledEncoder

LABELS = ("_silence_", "no", "yes")
WINDOW = 4_000
ENCODER = Wav2Vec2Config(
    conv_layers=paper_conv_layers(8),
    conv_norm="layer",
    normalize_waveform=True,
    embed_dim=16,
    num_heads=(2,),
    ffn_dim=(24,),
    head_dim=8,
    pos_conv_kernel=6,
    pos_conv_groups=4,
    layerdrop=0.2,
)
TRANSFORMER = {"embed_dim": 8, "num_heads": 2, "head_dim": 4, "ffn_dim": 8, "num_layers": 1}


def make_model(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "ds_cnn":
            body = DsCnn(DsCnnConfig(num_mels=12, channels=6, num_blocks=1))
        elif kind == "keyword_transformer":
            body = KeywordTransformer(
                KeywordTransformerConfig(**TRANSFORMER, window_samples=WINDOW)
            )
        elif kind == "causal_keyword_transformer":
            body = CausalKeywordTransformer(
                CausalKeywordTransformerConfig(**TRANSFORMER, left_ms=80, pooled_ms=120)
            )
        else:
            config = ENCODER if kind == "wav2vec2" else grouped()
            body = PooledEncoder(Wav2Vec2Encoder(config))
        model = KeywordModel(body, LABELS)
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if "running_var" in name or name.endswith("norm.weight"):
                    tensor.uniform_(0.5, 1.5)
                elif name.endswith("bias") or "running_mean" in name:
                    tensor.normal_(std=0.3)
            model.classifier.weight.mul_(4)  # posteriors away from a third
    return model


def grouped():
    """HuBERT Base's norms, and a layer normalized before its blocks."""
    return Wav2Vec2Config(
        conv_layers=paper_conv_layers(8),
        embed_dim=16,
        num_heads=(2,),
        ffn_dim=(24,),
        head_dim=8,
        pos_conv_kernel=6,
        pos_conv_groups=4,
        pre_norm=True,
    )


def export(model, out, **changes):
    values = {
        "name": "tiny",
        "labels": LABELS,
        "streaming": Streaming(window_samples=WINDOW, hop_samples=1_000),
        "decision": Decision(keywords=("no", "yes"), threshold=0.5),
        "provenance": {"recipe": "a test", "teacher": {"sha256": "0" * 64}},
        "measured": {"test": {"accuracy": 0.5}},
    }
    return export_keywords(model, out, **(values | changes))


@pytest.fixture(
    scope="module",
    params=[
        "wav2vec2",
        "wav2vec2-group",
        "ds_cnn",
        "keyword_transformer",
        "causal_keyword_transformer",
    ],
)
def exported(request, tmp_path_factory):
    """A model in training mode as a run leaves it, and its bundle."""
    model = make_model(request.param).train()
    out = tmp_path_factory.mktemp("export") / "tiny.bundle"
    manifest = export(model, out)
    return model, out, manifest


@pytest.fixture(scope="module")
def engine(exported):
    return Engine((exported[1] / "model.onnx").read_bytes())


@pytest.fixture(scope="module")
def baseline():
    return make_model("ds_cnn")


def expected_posteriors(model, pcm):
    model.eval()
    with torch.inference_mode():
        return model(torch.from_numpy(pcm)).softmax(-1).numpy()


@settings(max_examples=15, deadline=None)
@given(
    samples=st.integers(WINDOW // 2, 3 * WINDOW),
    batch=st.integers(1, 3),
    loudness=st.sampled_from([0.0, 1e-3, 0.3, 1.0]),
)
def test_the_graph_gives_the_posteriors_of_torch_on_any_length(
    exported, engine, samples, batch, loudness
):
    model, _, _ = exported
    pcm = np.float32(loudness) * probe(samples, batch=batch, seed=samples)
    actual = engine.run({"pcm": pcm})["posteriors"]
    assert actual.shape == (batch, 3)
    assert np.abs(actual - expected_posteriors(model, pcm)).max() <= 1e-5  # float32 sums


def test_a_bundle_loads_and_answers_as_the_trained_model(exported):
    model, out, _ = exported
    loaded = runtime.load(out)
    pcm = probe(WINDOW, batch=1, seed=7)
    actual = loaded.posteriors(pcm[0])
    assert np.abs(actual - expected_posteriors(model, pcm)[0]).max() <= 1e-5
    assert loaded.labels == LABELS


def test_the_models_answers_are_worth_comparing(exported):
    model, _, _ = exported
    posteriors = expected_posteriors(model, probe(WINDOW, batch=3, seed=1))
    assert np.ptp(posteriors, axis=1).min() > 0.05
    assert np.abs(posteriors[0] - posteriors[1]).max() > 10 * TOLERANCE


def test_the_manifest_says_what_the_bundle_is_and_was_made_from(exported):
    model, out, manifest = exported
    bundle = read_bundle(out)  # checks every digest
    assert bundle.manifest == manifest
    assert manifest.labels == LABELS
    assert manifest.streaming == Streaming(window_samples=WINDOW, hop_samples=1_000)
    assert manifest.decision.keywords == ("no", "yes")
    assert manifest.sample_rate == 16_000
    assert manifest.provenance == {"recipe": "a test", "teacher": {"sha256": "0" * 64}}
    measured = manifest.measured
    assert measured["test"] == {"accuracy": 0.5}
    assert measured["model_size_bytes"] == (out / "model.onnx").stat().st_size
    assert 0.0 <= measured["largest_difference_from_torch"] <= TOLERANCE
    folded = 0
    if isinstance(model.body, PooledEncoder):
        # weight normalization stores a gain for each tap beside the tensor it is folded into
        folded = model.body.encoder.config.pos_conv_kernel
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert measured["num_params"] == counted - folded
    assert sorted(path.name for path in out.iterdir()) == [
        "golden.npz",
        "manifest.json",
        "model.onnx",
    ]


def test_the_golden_pair_is_the_graphs_own_answer(exported):
    model, out, _ = exported
    golden = read_bundle(out).golden()
    assert golden.pcm.shape == (1, WINDOW)
    expected = expected_posteriors(model, golden.pcm)
    assert np.abs(golden.posteriors - expected).max() <= TOLERANCE < golden.tolerance <= 1e-4


def test_nothing_of_this_machine_is_in_the_graph(exported):
    _, out, _ = exported
    graph = (out / "model.onnx").read_bytes()
    places = {
        str(Path(__file__).parents[2]),
        str(Path.home()),
        sys.prefix,
        sys.base_prefix,
        tempfile.gettempdir() + "/",
        "site-packages",
        ".py",
    }
    for place in places:
        assert place.encode() not in graph, place
    manifest = (out / "manifest.json").read_text(encoding="utf-8")
    assert not any(place in manifest for place in places)


def test_the_graph_takes_and_gives_what_the_bundle_format_says(exported):
    _, out, _ = exported
    graph = onnx.load(out / "model.onnx").graph
    ((pcm,), (posteriors,)) = (graph.input, graph.output)
    assert (pcm.name, posteriors.name) == ("pcm", "posteriors")
    assert pcm.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [size.dim_param for size in pcm.type.tensor_type.shape.dim] == ["batch", "samples"]
    shape = posteriors.type.tensor_type.shape.dim
    assert (shape[0].dim_param, shape[1].dim_value) == ("batch", 3)


def test_layers_are_called_as_in_the_checkpoint(exported):
    model, out, _ = exported
    layers = layers_of(onnx.load(out / "model.onnx").graph)
    learned = [layer for layer in layers if not layer.front_end]
    modules = {name for name, _ in model.named_modules()}
    assert {layer.name for layer in learned} <= modules
    assert len({layer.name for layer in layers}) == len(layers)
    encoder = isinstance(model.body, PooledEncoder)
    first = "body.encoder.feature_extractor.0" if encoder else "body.frontend"
    assert f"{layers[0].name}.".startswith(f"{first}.")
    for layer in learned:
        weight = getattr(model.get_submodule(layer.name), "weight", None)
        assert weight is None or layer.num_weights == weight.numel()


def test_exporting_leaves_the_trained_model_as_it_was():
    model = make_model("wav2vec2").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Posteriors(model)(torch.zeros(1, WINDOW))
    model(torch.zeros(1, WINDOW)).sum().backward()
    after = model.state_dict()
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def graph(baseline, tmp_path_factory):
    """The baseline's, made once."""
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx_target.write(Posteriors(baseline), path, window_samples=WINDOW)
    return path.read_bytes()


@pytest.fixture
def quick(graph, monkeypatch):
    """Writing the graph takes no time, so that a test of what follows is quick."""
    monkeypatch.setattr(
        onnx_target, "write", lambda module, path, *, window_samples: path.write_bytes(graph)
    )


@pytest.mark.parametrize("old", [True, False])
def test_a_graph_that_differs_is_refused_and_nothing_is_written(
    old, baseline, quick, tmp_path, monkeypatch
):
    out = tmp_path / "tiny.bundle"
    if old:
        export(baseline, out)
    before = tree(tmp_path)
    run = Engine.run

    def wrong(self, feeds):
        answer = run(self, feeds)
        far = feeds["pcm"].shape[1] == WINDOW * 3 // 2 + 13
        return {"posteriors": answer["posteriors"] + np.float32(3e-5 if far else 0.0)}

    monkeypatch.setattr(Engine, "run", wrong)
    with pytest.raises(ExportError, match=r"differs from the trained model by 3e-05 on 6013 samp"):
        export(baseline, out)
    assert tree(tmp_path) == before


def test_a_graph_that_gives_no_number_is_refused(baseline, monkeypatch):
    face = (Tensor(name="pcm", shape=("batch", "samples"), dtype="float32"),)
    monkeypatch.setattr(
        "export.verify.Engine",
        lambda graph: SimpleNamespace(
            run=lambda feeds: {"posteriors": np.full((1, 3), np.nan)}, inputs=face, faces=(face,)
        ),
    )
    with pytest.raises(ExportError, match="by nan"):
        largest_difference(Posteriors(baseline), b"", [WINDOW])


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "manifest.json"])
def test_a_disk_that_fills_up_leaves_nothing_half_written(
    name, old, baseline, quick, tmp_path, monkeypatch
):
    out = tmp_path / "tiny.bundle"
    if old:
        export(baseline, out)
    before = tree(tmp_path)

    def failing(original):
        def write(first, *args, **kwargs):
            if Path(first).name == name:
                Path(first).touch()
                raise OSError(errno.ENOSPC, "No space left on device", str(first))
            return original(first, *args, **kwargs)

        return write

    for owner, method in (
        (Path, "write_bytes"),
        (Path, "write_text"),
        (np, "savez_compressed"),
    ):
        monkeypatch.setattr(owner, method, failing(getattr(owner, method)))
    with pytest.raises(OSError, match="No space left"):
        export(baseline, out)
    assert tree(tmp_path) == before
    if old:
        assert read_bundle(out).manifest.name == "tiny"


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("no", "yes")},
        {"labels": ("no", "no", "yes")},
        {"decision": Decision(keywords=("never",), threshold=0.5)},
        {"provenance": {"teacher": object()}},
    ],
    ids=["too few labels", "a label twice", "an unknown keyword", "no JSON"],
)
def test_a_bundle_that_could_not_run_is_not_written(change, baseline, quick, tmp_path):
    with pytest.raises((runtime.RuntimeFault, ExportError)):
        export(baseline, tmp_path / "tiny.bundle", **change)
    assert tree(tmp_path) == []


@given(window=st.integers(1_000, 50_000))
def test_the_lengths_that_are_checked_surround_the_window_and_are_odd(window):
    lengths = odd_lengths(window)
    assert {window - 1, window, window + 1} <= set(lengths)
    assert min(lengths) >= window // 2
    assert len(set(lengths)) == len(lengths)
    assert any(length % 160 for length in lengths)


def test_the_probe_is_a_signal_within_full_scale():
    pcm = probe(8_000, batch=2, seed=0)
    assert (pcm.dtype, pcm.shape) == (np.float32, (2, 8_000))
    assert np.abs(pcm).max() <= 1.0
    assert pcm.std(axis=1).min() > 0.02
    assert np.array_equal(pcm, probe(8_000, batch=2, seed=0))
    assert not np.array_equal(pcm, probe(8_000, batch=2, seed=1))


class Deciding(nn.Module):
    """What depends on its data cannot be one graph."""

    def forward(self, pcm):
        return pcm.softmax(-1) if pcm.sum() > 0 else pcm


def test_what_torch_cannot_export_is_refused_in_one_line(tmp_path):
    with pytest.raises(ExportError, match="torch cannot export Deciding: ") as refused:
        onnx_target.write(Deciding().eval(), tmp_path / "m.onnx", window_samples=64)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
