"""What a bundle promises, asked of every precision that it can be stored in."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_keywords import LABELS, Tiny

import runtime
from compress.verbs.export import Precision as Flag
from export.bundle import export_keywords
from export.exportable import Posteriors
from export.gate import Evidence, Limits, Quantization
from export.quantize import Precision
from export.targets import onnx as target
from runtime.bundle import read_bundle
from runtime.doctor import check
from runtime.forms import form_of
from runtime.manifest import Decision, Streaming
from runtime.replay import ask, streamed
from runtime.verified import TOLERANCE, read_table

WINDOW = 1_600
HOP = 400


def clips(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(WINDOW) / 16_000
    tones = 0.4 * np.sin(2 * np.pi * rng.uniform(100, 4_000, (count, 1)) * time)
    return (tones + rng.normal(0, 0.05, (count, WINDOW))).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tiny().eval()


@pytest.fixture(scope="module")
def graph(model, tmp_path_factory):
    """What torch exports, the same for every precision."""
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    target.write(Posteriors(model), path, window_samples=WINDOW)
    return path.read_bytes()


@pytest.fixture(scope="module", params=list(Precision))
def exported(request, model, graph, tmp_path_factory):
    windows = clips(20, seed=2)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(windows)).argmax(-1).numpy()
    out = tmp_path_factory.mktemp("bundles") / "tiny.bundle"
    quantization = None
    if request.param is not Precision.FLOAT32:
        quantization = Quantization(
            precision=request.param,
            evidence=Evidence(calibration=clips(16, seed=1), windows=windows, wanted=wanted),
            keep_float=("classifier",),
            limits=Limits(max_accuracy_drop=0.2),  # untrained: some answers are nearly ties
            sensitivity=True,
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "write", lambda _, path, **_sizes: path.write_bytes(graph))
        manifest = export_keywords(
            model,
            out,
            name="tiny",
            labels=LABELS,
            streaming=Streaming(window_samples=WINDOW, hop_samples=HOP),
            decision=Decision(keywords=("no", "yes"), threshold=0.5),
            provenance={},
            measured={"test": {"accuracy": 0.9, "clips": 7}},
            quantization=quantization,
        )
    return model, out, manifest, request.param


def test_the_doctor_finds_the_bundle_well(exported):
    _, out, _, precision = exported
    report = check(out)
    assert report.passed
    assert report.max_error == 0.0  # the machine that wrote it
    if precision is Precision.FLOAT32:
        assert report.tolerance == 1e-4
    else:
        assert 1e-3 <= report.tolerance <= 0.1


def test_a_stream_of_the_bundle_hears_what_the_trained_model_hears(exported):
    model, out, _, precision = exported
    loaded = runtime.load(out)
    window = clips(1, seed=9)
    with torch.inference_mode():
        expected = model(torch.from_numpy(window)).softmax(-1).numpy()[0]
    difference = np.abs(loaded.posteriors(window[0]) - expected).max()
    # A step of 255 in a few layers, in posteriors; float32 sums in another order.
    assert difference <= (1e-5 if precision is Precision.FLOAT32 else 0.05)
    assert loaded.stream().push(np.zeros(3 * WINDOW + 7, dtype=np.float32)) == []


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    blocks=st.lists(st.integers(0, 1_300), min_size=1, max_size=8),
    loudness=st.sampled_from([1e-3, 1.0]),
)
def test_any_chunking_of_any_recording_gives_the_offline_answers(exported, seed, blocks, loudness):
    model, out, _, precision = exported
    loaded = runtime.load(out)
    noise = np.random.default_rng(seed).uniform(-1, 1, sum(blocks))
    waveform = (loudness * noise).astype(np.float32)
    answers = streamed(loaded, waveform, blocks)
    assert len(answers) == len(waveform) // HOP
    if not len(answers):
        return
    streaming, form = loaded.manifest.streaming, form_of(loaded.manifest.streaming)
    offline = form.offline(lambda pcm: ask(loaded, pcm), waveform, streaming)
    assert np.abs(answers - offline).max() <= TOLERANCE  # the same kernels on the same windows
    if precision is Precision.FLOAT32:

        def trained(pcm):
            with torch.inference_mode():
                return model(torch.from_numpy(pcm)).softmax(-1).numpy()

        expected = form.offline(trained, waveform, streaming)
        assert np.abs(answers - expected).max() <= 1e-5  # float32 sums in another order


def test_the_bundle_brings_the_table_of_how_it_was_run(exported):
    _, _, manifest, precision = exported
    cells = read_table(manifest.measured)
    assert [cell.to_dict() for cell in cells] == manifest.measured["verified"]
    assert all(cell.passed for cell in cells)
    assert {(cell.file, cell.precision) for cell in cells} == {("model.onnx", precision.value)}
    offline = [cell for cell in cells if cell.form == "offline"]
    streams = [cell for cell in cells if cell.form == "sliding_window"]
    assert len(offline) + len(streams) == len(cells)
    assert {cell.against for cell in offline} == {"torch"}
    assert {"1600", "1599", "1601", "2881"} < {cell.chunk_samples for cell in offline}
    assert [cell.chunk_samples for cell in streams] == ["3400", "400", "399", "7", "0 to 801"]
    if precision is Precision.FLOAT32:
        assert {cell.tolerance for cell in cells} == {1e-5}
        assert {cell.against for cell in streams} == {"torch"}
        assert all(cell.snr_db is None for cell in cells)
        return
    assert {cell.against for cell in streams} == {"offline"}
    assert {cell.tolerance for cell in streams} == {1e-5}
    found = {cell.chunk_samples: cell.snr_db for cell in offline}
    assert found.pop("1600") == manifest.measured["snr_db"] >= 20.0
    assert set(found.values()) == {manifest.measured["odd_lengths_snr_db"]}
    # 8 bits move a posterior, and no more than the gate saw and a step of another fusion
    assert all(cell.largest_difference > 1e-5 for cell in offline)
    assert max(cell.tolerance for cell in offline) <= 0.1


def test_the_manifest_tells_the_precision_and_what_it_costs(exported):
    _, out, manifest, precision = exported
    measured = json.loads((out / "manifest.json").read_text())["measured"]
    assert measured == manifest.measured
    assert measured["precision"] == precision.value
    assert measured["model_size_bytes"] == (out / "model.onnx").stat().st_size
    if precision is Precision.FLOAT32:
        assert measured["test"] == {"accuracy": 0.9, "clips": 7}
        return
    assert "test" not in measured  # nobody measured it in 8 bits
    assert measured["float32"]["test"] == {"accuracy": 0.9, "clips": 7}
    assert measured["model_size_bytes"] < measured["float32"]["model_size_bytes"]
    assert measured["valid"]["clips"] == 20
    assert measured["valid"]["accuracy"] == pytest.approx(1 - measured["valid"]["accuracy_drop"])
    assert measured["valid"]["accuracy"] >= 0.8
    assert measured["snr_db"] >= 20.0
    assert measured["layers_kept_float"] == ["classifier"]
    layers = [row["layer"] for row in measured["layers"]]
    assert layers == (["hidden"] if precision is Precision.INT8_DYNAMIC else ["conv", "hidden"])
    assert measured["calibration_clips"] == 16


def test_only_the_named_files_are_there(exported):
    _, out, _, _ = exported
    names = sorted(path.name for path in out.iterdir())
    assert names == ["golden.npz", "manifest.json", "model.onnx"]
    assert b"/tmp" not in read_bundle(out).model


def test_the_command_line_offers_every_precision():
    assert [flag.value for flag in Flag] == [precision.value for precision in Precision]
