"""`.ort` and its operator lists: the same answers, every operator, nothing of this machine."""

import dataclasses
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.tools.reduced_build_config_parser import parse_config
from tiny_graphs import tiny_graph
from tiny_keywords import LABELS, Tiny

from export import ExportError, ort
from export.bundle import export_keywords
from export.exportable import Posteriors
from export.gate import Evidence, Limits, Quantization
from export.quantize import Precision
from export.targets import onnx as target
from export.verify import probe
from runtime.bundle import read_bundle
from runtime.manifest import Decision, Streaming

WINDOW_SAMPLES = 1_600
FILES = [
    "model.ort",
    "model.required_operators.config",
    "model.required_operators_and_types.config",
]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """The tiny model's bundle in every precision, by one trace of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Tiny().eval()
    root = tmp_path_factory.mktemp("bundles")
    target.write(Posteriors(model), root / "graph", window_samples=WINDOW_SAMPLES)
    graph = (root / "graph").read_bytes()
    clips = np.concatenate([probe(WINDOW_SAMPLES, batch=4, seed=number) for number in range(2)])
    evidence = Evidence(calibration=clips, windows=clips, wanted=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "write", lambda module, path, **_: path.write_bytes(graph))
        for precision in Precision:
            in_8_bits = precision is not Precision.FLOAT32
            export_keywords(
                model,
                root / precision.value,
                name="tiny",
                labels=LABELS,
                streaming=Streaming(window_samples=WINDOW_SAMPLES, hop_samples=400),
                decision=Decision(keywords=("no", "yes"), threshold=0.9),
                provenance={},
                measured={},
                quantization=Quantization(
                    precision=precision, evidence=evidence, limits=Limits(min_snr_db=1)
                )
                if in_8_bits
                else None,
            )
    return root


@pytest.fixture
def bundle(bundles):
    return bundles / "float32"


def optimized_operators(graph, path):
    """What ONNX Runtime makes of a graph for any processor, as ONNX: {(domain, name)}."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    onnxruntime.InferenceSession(
        graph,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["NchwcTransformer"],
    )
    nodes = onnx.load(path).graph.node
    return {(node.domain or "ai.onnx", node.op_type) for node in nodes}


def listed(path, with_types):
    """A list as ONNX Runtime's own build reads it."""
    operators, types = parse_config(str(path), with_types)
    names = {
        (domain, name)
        for domain, opsets in operators.items()
        for some in opsets.values()
        for name in some
    }
    return names, types


@pytest.mark.parametrize("precision", list(Precision))
def test_the_file_answers_as_the_bundle_and_its_operators_are_listed(
    precision, bundles, tmp_path, capsys
):
    bundle = bundles / precision.value
    out = tmp_path / "tiny.ort"
    told = ort.write_ort(bundle, out)
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in out.iterdir()) == FILES
    data = (out / "model.ort").read_bytes()
    assert told["folder"] == str(out)
    assert told["model_size_bytes"] == len(data)

    whole = read_bundle(bundle)
    golden = whole.golden()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"pcm": golden.pcm})
    tolerance = 1e-5 if precision is Precision.FLOAT32 else golden.tolerance
    np.testing.assert_allclose(answers, golden.posteriors, rtol=0, atol=tolerance)
    assert told["largest_difference_from_onnx"] <= tolerance
    assert data[4:8] == b"ORTM"

    wanted = optimized_operators(whole.files["model.onnx"], tmp_path / "optimized.onnx")
    plain, _ = listed(out / FILES[1], False)
    typed, types = listed(out / FILES[2], True)
    assert plain == typed == wanted
    assert types is not None
    assert '"float"' in (out / FILES[2]).read_text()
    assert "{" not in (out / FILES[1]).read_text()


def test_nothing_tells_of_this_machine(bundle, tmp_path):
    ort.write_ort(bundle, tmp_path / "ort")
    digest = read_bundle(bundle).manifest.files["model.onnx"]
    for name in FILES[1:]:
        text = (tmp_path / "ort" / name).read_text()
        assert "/" not in text
        assert "\\" not in text
        comments = [line for line in text.splitlines() if line.startswith("#")]
        assert comments[0].endswith(digest)
        assert re.fullmatch(r"# by onnxruntime \d+\.\d+.*", comments[1])
    assert str(tmp_path).encode() not in (tmp_path / "ort" / "model.ort").read_bytes()


def test_the_same_bundle_gives_the_same_lists(bundle, tmp_path):
    for name in "ab":
        ort.write_ort(bundle, tmp_path / name)
    for name in FILES[1:]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_file_that_answers_otherwise_is_refused_and_the_older_one_kept(
    bundle, tmp_path, monkeypatch
):
    ort.write_ort(bundle, tmp_path / "ort")
    before = (tmp_path / "ort" / "model.ort").read_bytes()
    other = tiny_graph()
    convert = ort._convert
    monkeypatch.setattr(ort, "_convert", lambda graph, *places: convert(other, *places))
    with pytest.raises(ExportError, match=r"model\.ort answers otherwise.*the bundle itself is"):
        ort.write_ort(bundle, tmp_path / "ort")
    assert (tmp_path / "ort" / "model.ort").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ort"]


def test_a_bundle_without_an_onnx_graph_is_refused(bundle, tmp_path, monkeypatch):
    whole = read_bundle(bundle)
    files = {name: data for name, data in whole.files.items() if name != "model.onnx"}
    monkeypatch.setattr(ort, "read_bundle", lambda path: dataclasses.replace(whole, files=files))
    with pytest.raises(ExportError, match=r"holds no model\.onnx to convert"):
        ort.write_ort(bundle, tmp_path / "ort")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_cannot_be_converted_is_one_clear_error(tmp_path):
    with pytest.raises(ExportError, match=r"cannot make a model\.ort of this graph"):
        ort._convert(b"no graph", tmp_path, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["a.bundle", "a.bundle/ort", ".", "taken", "file"])
def test_a_place_that_would_harm_something_is_refused(place, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ExportError, match=r"Choose a folder beside|choose another folder"):
        ort.check_place(tmp_path / place, tmp_path / "a.bundle")
    (tmp_path / "empty").mkdir()
    ort.check_place(tmp_path / "empty", tmp_path / "a.bundle")
    ort.check_place(tmp_path / "new" / "folder", tmp_path / "a.bundle")
