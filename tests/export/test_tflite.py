"""TFLite = torch on LiteRT, names and weights as asked, 8 bits through the gate."""

import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_keywords import LABELS, Tiny
from tiny_step_modules import CHUNK, tiny_step
from tiny_step_modules import WINDOW as STEP_WINDOW
from torch import nn

import runtime
from export import ExportError
from export.bundle import export_keywords
from export.exportable import Posteriors
from export.gate import Evidence, Limits, Quantization, quantize
from export.quantize import Precision
from export.targets import get_target, tflite
from export.tflite_graph import layers_of, read
from export.verify import probe
from runtime.backends.tflite import Engine
from runtime.bundle import read_bundle
from runtime.doctor import check
from runtime.manifest import Decision, State, Streaming
from runtime.verified import read_table
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.models.frontend_config import RunningNormConfig
from train.models.running_norm import RunningNorm
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Wav2Vec2Config, paper_conv_layers
from train.tasks.keywords import KeywordModel, PooledEncoder

pytest.importorskip("litert_torch", reason="the extra 'tflite' is not installed")

WINDOW, LONGER = 1_600, 2_400
INT8 = [precision for precision in Precision if precision is not Precision.FLOAT32]
ENCODER = Wav2Vec2Config(
    conv_layers=paper_conv_layers(6)[:3],
    conv_norm="layer",
    normalize_waveform=True,
    embed_dim=8,
    num_heads=(2,),
    ffn_dim=(12,),
    head_dim=4,
    pos_conv_kernel=6,
    pos_conv_groups=2,
)


class Normed(nn.Module):
    """RunningNorm before a classifier, as a stream's front end."""

    def __init__(self):
        super().__init__()
        self.norm = RunningNorm(RunningNormConfig(memory_samples=400, prior_samples=100))
        self.rest = Tiny()

    def forward(self, waveform):
        return self.rest(self.norm(waveform)[0])


def randomized(model):
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running_var" in name or name.endswith("norm.weight"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("bias") or "running_mean" in name:
                tensor.normal_(std=0.3)
        (model.rest if isinstance(model, Normed) else model).classifier.weight.mul_(4)
    return model.eval()


def make_model(family):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if family == "running_norm":
            return randomized(Normed())
        if family == "wav2vec2":
            return randomized(KeywordModel(PooledEncoder(Wav2Vec2Encoder(ENCODER)), LABELS))
        return randomized(
            KeywordModel(DsCnn(DsCnnConfig(num_mels=12, channels=6, num_blocks=1)), LABELS)
        )


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """Each family's module and graph, written once; the DS-CNN's takes two lengths."""
    made = {}

    def graph(family):
        if family not in made:
            module = Posteriors(make_model(family))
            path = tmp_path_factory.mktemp(family) / "model.tflite"
            lengths = (LONGER, WINDOW) if family == "ds_cnn" else ()
            tflite.write(module, path, window_samples=WINDOW, lengths=lengths)
            made[family] = module, path.read_bytes()
        return made[family]

    return graph


def clips(count, seed):
    rng = np.random.default_rng(seed)
    time = np.arange(WINDOW) / 16_000
    tones = 0.4 * np.sin(2 * np.pi * rng.uniform(100, 4_000, (count, 1)) * time)
    return (tones + rng.normal(0, 0.05, (count, WINDOW))).astype(np.float32)


def expected(module, pcm):
    with torch.inference_mode():
        return module(torch.from_numpy(pcm)).numpy()


@pytest.mark.parametrize("family", ["ds_cnn", "wav2vec2", "running_norm"])
def test_litert_gives_the_posteriors_of_torch(graphs, family):
    module, graph = graphs(family)
    engine = Engine(graph)
    answers = []
    for seed, loudness in ((0, 1.0), (1, 0.3), (2, 1e-3), (3, 0.0)):
        pcm = np.float32(loudness) * probe(WINDOW, batch=1, seed=seed)
        answers.append(engine.run({"pcm": pcm})["posteriors"])
        assert answers[-1].shape == (1, 3)
        assert np.abs(answers[-1] - expected(module, pcm)).max() <= 1e-5  # float32 sums
    assert np.abs(answers[0] - answers[3]).max() > 1e-3  # answers worth comparing


def test_further_lengths_are_signatures_that_share_weights(graphs):
    module, graph = graphs("ds_cnn")
    engine = Engine(graph)
    assert [face[0].shape for face in engine.faces] == [(1, WINDOW), (1, LONGER)]
    assert engine.inputs == engine.faces[0]
    for samples in (WINDOW, LONGER, WINDOW):
        pcm = probe(samples, batch=1, seed=samples)
        answer = engine.run({"pcm": pcm})["posteriors"]
        assert np.abs(answer - expected(module, pcm)).max() <= 1e-5
    model = read(graph)
    stored = {
        number: len(buffer.data)
        for number, buffer in enumerate(model.buffers)
        if buffer.data is not None
    }
    weights = [{tensor.buffer for tensor in part.tensors} & set(stored) for part in model.subgraphs]
    shared = sum(stored[number] for number in weights[0] & weights[1])
    assert shared >= 0.99 * sum(stored.values())


def test_layers_are_called_as_in_the_checkpoint(graphs):
    graph = graphs("ds_cnn")[1]
    named = [layer.name for layer in layers_of(read(graph))]
    assert named == [
        "body.frontend", "body.frontend_2", "body.stem.0", "body.blocks.0.0", "body.blocks.0.3",
        "classifier",
    ]  # fmt: skip
    front = [layer.name for layer in layers_of(read(graph)) if layer.front_end]
    assert front == ["body.frontend", "body.frontend_2"]
    encoder = graphs("wav2vec2")[0]
    modules = {name for name, _ in encoder.classifier.named_modules()}
    found = [layer.name for layer in layers_of(read(graphs("wav2vec2")[1]))]
    assert set(found) <= modules
    assert len(set(found)) == len(found) == 12
    assert {f"body.encoder.layers.0.attention.{one}_proj" for one in "qkv"} < set(found)


def test_nothing_of_this_machine_is_in_the_graph(graphs):
    places = [Path(__file__).parents[2], Path.home(), sys.prefix, sys.base_prefix]
    places += [tempfile.gettempdir() + "/", "site-packages", ".py", "__main__", "train.models"]
    for family in ("ds_cnn", "wav2vec2"):
        for place in places:
            assert str(place).encode() not in graphs(family)[1], place


def test_converting_is_quiet_and_leaves_logging_as_it_was(capfd, tmp_path):
    root = logging.getLogger()
    before = root.level, root.handlers[:], os.environ.get("LITERT_TORCH_SHOW_PROGRESS")
    tflite.write(nn.Linear(8, 3).eval(), tmp_path / "m.tflite", window_samples=8, output="y")
    assert before == (root.level, root.handlers, os.environ.get("LITERT_TORCH_SHOW_PROGRESS"))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert Engine((tmp_path / "m.tflite").read_bytes()).outputs[0].name == "y"


class Deciding(nn.Module):
    """What depends on its data cannot be one graph."""

    def forward(self, pcm):
        return pcm.softmax(-1) if pcm.sum() > 0 else pcm


def test_what_cannot_be_converted_is_refused_in_one_line(tmp_path):
    with pytest.raises(ExportError, match="litert-torch cannot convert this model") as refused:
        tflite.write(Deciding().eval(), tmp_path / "m.tflite", window_samples=64)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_names_the_extra(graphs, monkeypatch, tmp_path):
    graph = graphs("ds_cnn")[1]
    for package in ("litert_torch", "ai_edge_quantizer"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=r'pip install "otolite\[tflite\]"'):
        tflite.write(Tiny().eval(), tmp_path / "m.tflite", window_samples=WINDOW)
    with pytest.raises(ExportError, match=r'pip install "otolite\[tflite\]"'):
        tflite.Quantizer(graph, Precision.INT8_DYNAMIC, clips(2, 0))


def asked(precision, **changes):
    values = {
        "precision": precision,
        "evidence": Evidence(calibration=clips(16, 1), windows=clips(20, 2), wanted=None),
        "limits": Limits(min_snr_db=20.0),
    }
    return Quantization(**(values | changes))


@pytest.mark.parametrize("precision", INT8)
def test_8_bits_pass_the_gate_with_the_front_end_in_float(precision, graphs):
    graph = graphs("ds_cnn")[1]
    accepted = quantize(graph, asked(precision, sensitivity=True), tflite)
    assert accepted.comparison.snr_db >= 20.0
    assert accepted.comparison.odd_lengths_snr_db >= 20.0  # the further length
    assert accepted.comparison.snr_db < 90.0  # 8 bits leave a mark
    names = [layer.name for layer in layers_of(read(accepted.graph))]
    assert names[:2] == ["body.frontend", "body.frontend_2"]
    assert list(accepted.layers_snr_db) == [
        "body.stem.0", "body.blocks.0.0", "body.blocks.0.3", "classifier"
    ]  # fmt: skip
    assert 1e-3 <= accepted.tolerance <= 0.1
    engine = Engine(accepted.graph)
    assert [tensor.name for tensor in engine.inputs + engine.outputs] == ["pcm", "posteriors"]


def test_weights_are_8_bits_and_of_matrix_products_one_scale_goes_for_all(graphs):
    graph = graphs("wav2vec2")[1]
    quantizer = tflite.Quantizer(graph, Precision.INT8_DYNAMIC, clips(2, 0))
    names = [layer.name for layer in quantizer.layers if layer.name != "classifier"]
    model = read(quantizer.quantized(names))
    stored = {"FULLY_CONNECTED": [], "classifier": []}
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) != 9:
            continue
        weight = model.subgraphs[0].tensors[operator.inputs[1]]
        output = model.subgraphs[0].tensors[operator.outputs[0]].name
        place = "classifier" if output.startswith(b"classifier@") else "FULLY_CONNECTED"
        stored[place].append(
            (weight.type, len(weight.quantization.scale or ()) if weight.quantization else 0)
        )
    # tflite-runtime computes garbage from a scale for each output, and says nothing
    assert set(stored["FULLY_CONNECTED"]) == {(9, 1)}  # int8
    assert stored["classifier"] == [(0, 0)]  # float32: kept
    with pytest.raises(ExportError, match="no layer is left to quantize"):
        quantizer.quantized([])


def test_a_model_in_8_bits_that_is_no_longer_the_model_is_refused(graphs):
    graph = graphs("ds_cnn")[1]
    with pytest.raises(ExportError, match=r"int8-static was not written: the logits are"):
        quantize(graph, asked(Precision.INT8_STATIC, limits=Limits(min_snr_db=99.0)), tflite)
    with pytest.raises(ExportError, match=r"no layer is called 'body\.steam\*'"):
        quantize(graph, asked(Precision.INT8_STATIC, keep_float=("body.steam*",)), tflite)


@pytest.fixture(scope="module")
def step_graph(tmp_path_factory):
    step = tiny_step().eval()
    path = tmp_path_factory.mktemp("step") / "model.tflite"
    tflite.write_step(step, path)
    return step, path.read_bytes()


def test_a_steps_states_keep_their_names_in_float_and_in_8_bits(step_graph):
    step, graph = step_graph
    quantizer = tflite.Quantizer(graph, Precision.INT8_DYNAMIC, clips(2, 0))
    small = quantizer.quantized([layer.name for layer in quantizer.layers])
    assert len(small) < len(graph)
    names = {state.name for state in step.states}
    for model in (graph, small):
        engine = Engine(model)
        assert {tensor.name for tensor in engine.inputs} == {"pcm", *names}
        wanted = {"posteriors", *(f"{name}_next" for name in names)}
        assert {tensor.name for tensor in engine.outputs} == wanted
        shapes = {tensor.name: tensor.shape for tensor in engine.inputs}
        assert all(shapes[state.name] == state.shape for state in step.states)


class Counting(nn.Module):
    """States that no name of Python could have."""

    chunk_samples = 4
    states = (State(name="a.b c", shape=(1, 2)), State(name="pcm_2", shape=(1, 3), initial=2.0))

    def forward(self, pcm, first, second):
        return (pcm + first.sum()).softmax(-1), first + 1, second * 2


def test_a_states_name_may_be_any_text(tmp_path):
    tflite.write_step(Counting().eval(), tmp_path / "m.tflite")
    engine = Engine((tmp_path / "m.tflite").read_bytes())
    feeds = {"pcm": np.zeros((1, 4), np.float32), "a.b c": np.zeros((1, 2), np.float32)}
    answers = engine.run({**feeds, "pcm_2": np.full((1, 3), 2.0, dtype=np.float32)})
    assert answers["a.b c_next"].tolist() == [[1.0, 1.0]]
    assert answers["pcm_2_next"].tolist() == [[4.0, 4.0, 4.0]]


@pytest.fixture
def written(graphs, step_graph, monkeypatch):
    """Converting takes no time, so that a test of what follows is quick."""
    graph = graphs("ds_cnn")[1]
    monkeypatch.setattr(tflite, "write", lambda _, path, **_sizes: path.write_bytes(graph))
    monkeypatch.setattr(tflite, "write_step", lambda _, path: path.write_bytes(step_graph[1]))


def export(out, model, **changes):
    values = {
        "name": "tiny",
        "labels": LABELS,
        "streaming": Streaming(window_samples=WINDOW, hop_samples=400),
        "decision": Decision(keywords=("no", "yes"), threshold=0.5),
        "provenance": {},
        "measured": {},
        "formats": ("tflite",),
    }
    return export_keywords(model, out, **(values | changes))


@pytest.mark.parametrize("precision", [None, Precision.INT8_DYNAMIC])
def test_a_bundle_of_tflite_is_proved_and_runs(precision, written, tmp_path):
    out = tmp_path / "tiny.bundle"
    quantization = None if precision is None else asked(precision)
    manifest = export(out, make_model("ds_cnn"), quantization=quantization, lengths=(LONGER,))
    cells = read_table(manifest.measured)
    offline = {cell.chunk_samples for cell in cells if cell.form == "offline"}
    assert offline == {str(WINDOW), str(LONGER)}
    assert all(cell.file == "model.tflite" and cell.passed for cell in cells)
    assert len([cell for cell in cells if cell.form == "sliding_window"]) == 5
    assert sorted(read_bundle(out).files) == ["golden.npz", "model.tflite"]
    known = None if precision is None else "ai-edge-quantizer"
    assert manifest.measured.get("quantizer") == known
    report = check(out)
    assert report.passed
    assert report.engine.startswith("ai-edge-litert ")
    pcm = clips(1, 9)
    answer = runtime.load(out).posteriors(pcm[0])
    near = 1e-5 if precision is None else 0.05  # steps of 255 in a few layers
    assert np.abs(answer - expected(Posteriors(make_model("ds_cnn")), pcm)[0]).max() <= near


def test_a_bundle_of_both_formats_holds_answers_of_each(written, tmp_path):
    out = tmp_path / "both.bundle"
    step = tiny_step()
    streaming = Streaming(form="incremental", window_samples=STEP_WINDOW, hop_samples=CHUNK)
    manifest = export(out, step, streaming=streaming, formats=("tflite", "onnx"))
    assert manifest.model_files == ("model.onnx", "model.tflite")
    cells = read_table(manifest.measured)
    by_file = {
        file: [cell.chunk_samples for cell in cells if cell.file == file]
        for file in manifest.model_files
    }
    assert by_file["model.onnx"] == by_file["model.tflite"]
    assert max(cell.tolerance for cell in cells) == 1e-5
    assert set(manifest.measured["further_graphs"]) == {"model.tflite"}
    assert check(out).passed


def test_in_8_bits_each_format_has_its_library(written, tmp_path):
    quantization = asked(Precision.INT8_DYNAMIC, quantizer="onnxruntime")
    formats = ("onnx", "tflite")
    manifest = export(
        tmp_path / "both", make_model("ds_cnn"), formats=formats, quantization=quantization
    )
    (tflite_figures,) = manifest.measured["further_graphs"].values()
    libraries = [figures["quantizer"] for figures in (manifest.measured, tflite_figures)]
    assert libraries == ["onnxruntime", "ai-edge-quantizer"]


def test_a_graph_that_differs_is_refused_and_nothing_is_written(written, tmp_path):
    other = make_model("ds_cnn")
    with torch.no_grad():
        other.classifier.bias += torch.tensor([0.3, 0.0, -0.3])
    with pytest.raises(ExportError, match="differs from the trained model by"):
        export(tmp_path / "tiny.bundle", other)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formats": ("tflight",)}, "there is no format 'tflight': did you mean 'tflite'"),
        ({"formats": ()}, "formats must name one or more of onnx, tflite"),
        ({"lengths": (0,)}, "lengths must be 1 sample or more"),
        (
            {"quantization": asked(Precision.INT8_DYNAMIC, quantizer="optimum")},
            "optimum does not quantize tflite, which ai-edge-quantizer can; name one of these",
        ),
        (
            {
                "formats": ("onnx", "tflite"),
                "quantization": asked(Precision.INT8_DYNAMIC, quantizer="x"),
            },
            "x does not quantize onnx or tflite, which onnxruntime, optimum, ai-edge-quantizer can",
        ),
    ],
)
def test_a_format_that_cannot_be_is_refused(changes, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        export(tmp_path / "tiny.bundle", Tiny(), **changes)
    assert get_target("tflite") is tflite
