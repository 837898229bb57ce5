"""A bundle is run as written in every way, and one wrong cell leaves nothing behind."""

import copy
import sys

import numpy as np
import pytest
import torch
from tiny_graphs import WINDOW as GATE_WINDOW
from tiny_graphs import evidence, tiny_graph
from tiny_keywords import LABELS, Tiny

import export.bundle
import export.matrix
import runtime
from export import ExportError
from export.bundle import export_keywords
from export.exportable import Posteriors, Windows
from export.gate import Evidence, Limits, Quantization, quantize
from export.matrix import float32_cases, int8_cases, verify_bundle
from export.quantize import Precision
from export.targets import onnx as target
from runtime.backends import onnx as backend
from runtime.forms import sliding_window
from runtime.manifest import Decision, Streaming
from runtime.replay import streamed
from runtime.stream import Stream
from runtime.verified import read_table

WINDOW = 800
HOP = 300


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tiny().eval()


@pytest.fixture(scope="module")
def other(model):
    """The same but for its last layer's bias."""
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.classifier.bias += torch.tensor([0.3, 0.0, -0.3])
    return changed


@pytest.fixture(scope="module")
def graphs(model, other, tmp_path_factory):
    """What torch exports of the two."""
    made = []
    for number, module in enumerate((model, other)):
        path = tmp_path_factory.mktemp("graphs") / f"{number}.onnx"
        target.write(Posteriors(module), path, window_samples=WINDOW)
        made.append(path.read_bytes())
    return made


@pytest.fixture(autouse=True)
def quick(graphs, monkeypatch):
    monkeypatch.setattr(target, "write", lambda _, path, **_sizes: path.write_bytes(graphs[0]))


@pytest.fixture
def exporting(model, tmp_path):
    """Exports the model; gives the bundle's folder and manifest."""

    def run(precision=Precision.FLOAT32, form="sliding_window"):
        out = tmp_path / "tiny.bundle"
        quantization = None
        if precision is not Precision.FLOAT32:
            clips = np.random.default_rng(1).normal(0, 0.1, (24, WINDOW)).astype(np.float32)
            quantization = Quantization(
                precision=precision,
                evidence=Evidence(calibration=clips[:8], windows=clips[8:], wanted=None),
                limits=Limits(min_snr_db=10.0),
            )
        manifest = export_keywords(
            model,
            out,
            name="tiny",
            labels=LABELS,
            streaming=Streaming(window_samples=WINDOW, hop_samples=HOP, form=form),
            decision=Decision(keywords=("no", "yes"), threshold=0.5),
            provenance={},
            measured={},
            quantization=quantization,
        )
        return out, manifest

    return run


@pytest.fixture
def swapped(graphs, monkeypatch):
    """Another model's graph takes the place of the checked one just before it is sealed."""
    write = export.bundle._write_golden

    def swap(path, written, pcm):
        (path.parent / "model.onnx").write_bytes(graphs[1])
        write(path, written, pcm)

    monkeypatch.setattr(export.bundle, "_write_golden", swap)


def tree(folder):
    return sorted(
        (str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*")
    )


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("precision", list(Precision))
def test_a_wrong_graph_in_a_sealed_bundle_is_named_and_leaves_nothing(
    precision, old, exporting, swapped, tmp_path, monkeypatch
):
    if old:
        with monkeypatch.context() as patch:
            patch.setattr(export.bundle, "verify_bundle", lambda *_, **__: ())
            exporting()
    before = tree(tmp_path)
    named = rf"model\.onnx on onnxruntime \S+, {precision}, offline on 800 samples: its answers"
    with pytest.raises(ExportError, match=named + r" differ from the trained model's by 0\.\d+"):
        exporting(precision)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("precision", list(Precision))
def test_a_stream_that_answers_otherwise_is_named_and_leaves_nothing(
    precision, exporting, tmp_path, monkeypatch
):
    push = Stream.push

    def drops(self, block):
        return push(self, block[:-1] if len(block) == HOP - 1 else block)

    monkeypatch.setattr(Stream, "push", drops)
    with pytest.raises(ExportError, match=r"sliding_window in blocks of 299 samples: its answers"):
        exporting(precision)
    assert tree(tmp_path) == []


def test_a_stream_that_spoils_the_window_it_keeps_is_named(exporting, tmp_path, monkeypatch):
    answer = sliding_window.Window.answer

    def spoils(self, hop):
        posteriors = answer(self, hop)
        self._samples[-2:] += np.float32(0.05)
        return posteriors

    monkeypatch.setattr(sliding_window.Window, "answer", spoils)
    with pytest.raises(ExportError, match="sliding_window in blocks of 1750 samples"):
        exporting()
    assert tree(tmp_path) == []


def test_a_stream_that_fails_is_named_too(exporting, tmp_path, monkeypatch):
    def fails(self, hop):
        raise runtime.BundleFault("the model failed on a window.")

    monkeypatch.setattr(sliding_window.Window, "answer", fails)
    with pytest.raises(
        ExportError, match=r"blocks of 1750 samples: the model failed on a window\. Nothing was"
    ):
        exporting()
    assert tree(tmp_path) == []


def test_another_engine_is_more_rows_of_the_same(exporting, monkeypatch):
    class Second(backend.Engine):
        def __init__(self, model, *, threads=1):
            super().__init__(model, threads=threads)
            self.version = "second 2.0"

    one = read_table(exporting()[1].measured)
    monkeypatch.setattr(backend, "ENGINES", (backend.Engine, Second))
    two = read_table(exporting()[1].measured)
    assert len(two) == 2 * len(one)
    assert two[: len(one)] == one
    assert {cell.engine for cell in two[len(one) :]} == {"second 2.0"}


def test_another_streaming_form_is_a_file_and_its_rows(exporting, monkeypatch):
    class Late:
        """Its law leaves out the first answer, and its stream does."""

        start, ask = staticmethod(sliding_window.start), staticmethod(sliding_window.ask)

        @staticmethod
        def offline(ask, waveform, streaming):
            return sliding_window.offline(ask, waveform, streaming)[1:]

    def streamed_late(model, waveform, blocks):
        return streamed(model, waveform, blocks)[1:]

    monkeypatch.setattr(runtime.manifest, "STREAMING_FORMS", ("sliding_window", "late"))
    monkeypatch.setitem(sys.modules, "runtime.forms.late", Late)
    with pytest.raises(ExportError, match="late in blocks of 1750 samples: its answers"):
        exporting(form="late")
    monkeypatch.setattr(export.matrix, "streamed", streamed_late)
    cells = read_table(exporting(form="late")[1].measured)
    assert {cell.form for cell in cells} == {"offline", "late"}


def test_another_engine_that_answers_otherwise_is_named(exporting, tmp_path, monkeypatch):
    class Second(backend.Engine):
        def __init__(self, model, *, threads=1):
            super().__init__(model, threads=threads)
            self.version = "second 2.0"

        def run(self, feeds):
            answers = super().run(feeds)["posteriors"]
            return {"posteriors": answers + np.float32(2e-5)}

    monkeypatch.setattr(backend, "ENGINES", (backend.Engine, Second))
    with pytest.raises(ExportError, match=r"model\.onnx on second 2\.0, float32, offline on 800"):
        exporting()
    assert tree(tmp_path) == []


def test_a_written_bundle_can_be_asked_again(model, exporting):
    out, manifest = exporting()
    windows = Windows(model, WINDOW)
    cells = verify_bundle(
        out, windows, precision=Precision.FLOAT32, offline={"model.onnx": float32_cases(windows)}
    )
    assert cells == read_table(manifest.measured)


def test_a_bundle_without_the_table_loads(exporting, monkeypatch):
    monkeypatch.setattr(export.bundle, "TABLE", "older_bundles_have_none")
    out, manifest = exporting()
    assert read_table(manifest.measured) == ()
    assert runtime.load(out).manifest == manifest


def test_float32_is_asked_alone_and_in_twos_on_odd_lengths(model):
    cases = float32_cases(Windows(model, WINDOW))
    shapes = [recording.shape for case in cases for recording in case.recordings]
    assert {batch for batch, _ in shapes} == {1, 2}
    assert {799, 800, 801} < {samples for _, samples in shapes}
    assert {case.tolerance for case in cases} == {1e-5}


def test_8_bits_are_asked_on_real_audio_alone_within_what_the_gate_found(model):
    asked = Quantization(precision=Precision.INT8_STATIC, evidence=evidence())
    accepted = quantize(tiny_graph(), asked)
    whole, *odd = int8_cases(
        accepted, asked.evidence, Windows(model, GATE_WINDOW), backend.Engine(accepted.graph).faces
    )
    lengths = [{recording.shape for recording in case.recordings} for case in (whole, *odd)]
    assert all(len(shapes) == 1 and next(iter(shapes))[0] == 1 for shapes in lengths)
    assert lengths[0] == {(1, GATE_WINDOW)}
    assert {(1, GATE_WINDOW)} not in lengths[1:]
    assert whole.snr_db == accepted.comparison.snr_db
    assert whole.tolerance == accepted.comparison.largest_difference + accepted.tolerance
    assert {case.snr_db for case in odd} == {accepted.comparison.odd_lengths_snr_db}
