"""A bundle of steps streams what torch answers, in any blocks and in 8 bits too."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_step_modules import CHUNK, LABELS, WINDOW, TinyStep, tiny_step

import runtime
from export import ExportError
from export.bundle import export_keywords
from export.clips import Face
from export.gate import Evidence, Judge, Limits, Quantization, long_streams, quantize, snr_db
from export.quantize import Precision, Quantizer
from export.streaming import checked
from export.targets import onnx as target
from export.verify import probe
from runtime.backends.onnx import Engine
from runtime.bundle import read_bundle
from runtime.doctor import check
from runtime.manifest import Decision, Streaming
from runtime.replay import streamed
from runtime.stream import Stream
from runtime.verified import read_table

INT8 = [precision for precision in Precision if precision is not Precision.FLOAT32]
CLIPS = np.stack([probe(WINDOW + 60, batch=1, seed=seed)[0] for seed in range(36)])
"""No whole number of chunks."""


@pytest.fixture(scope="module")
def step():
    return checked(tiny_step(), (len(LABELS),))


@pytest.fixture(scope="module")
def graph(step, tmp_path_factory):
    path = tmp_path_factory.mktemp("steps") / "model.onnx"
    step.write(target, path)
    return path.read_bytes()


def evidence(step):
    """Labels are what the float model answers at each clip's end."""
    windows = CLIPS[12:]
    wanted = [step.answers(step.fitting(clip))[-1].argmax() for clip in windows]
    return Evidence(calibration=CLIPS[:12], windows=windows, wanted=np.array(wanted))


@pytest.fixture(scope="module")
def asked(step):
    def of(precision, **changes):
        return Quantization(
            **({"precision": precision, "evidence": evidence(step), "sensitivity": True} | changes)
        )

    return of


@pytest.fixture(autouse=True)
def quick(graph, monkeypatch):
    """Streams of a second, but where ten are what a test is about."""
    monkeypatch.setattr("export.clips._STREAM_SAMPLES", 16_000)
    monkeypatch.setattr(target, "write_step", lambda _, path: path.write_bytes(graph))


def export(out, **changes):
    values = {
        "name": "tiny",
        "labels": LABELS,
        "streaming": Streaming(form="incremental", window_samples=WINDOW, hop_samples=CHUNK),
        "decision": Decision(keywords=("no", "yes"), threshold=0.5),
        "provenance": {},
        "measured": {},
    }
    module = changes.pop("module", None) or tiny_step()
    return export_keywords(module, out, **(values | changes))


@pytest.fixture(scope="module")
def bundle(graph, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "tiny.bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "write_step", lambda _, path: path.write_bytes(graph))
        export(out)
    return out


@pytest.fixture(scope="module")
def loaded(bundle):
    return runtime.load(bundle)


@settings(max_examples=25, deadline=None)
@given(
    blocks=st.lists(st.integers(0, 3 * CHUNK + 1), max_size=12),
    seed=st.integers(0, 99),
    loudness=st.sampled_from([0.0, 1e-3, 1.0]),
)
def test_any_blocks_give_the_trained_forms_answers(step, loaded, blocks, seed, loudness):
    waveform = np.float32(loudness) * probe(sum(blocks) + 1, batch=1, seed=seed)[0]
    answers = streamed(loaded, waveform, blocks)
    heard = waveform[: sum(blocks) // CHUNK * CHUNK]
    assert len(answers) == len(heard) // CHUNK
    if len(answers):
        assert np.abs(answers - step.answers(heard[None])).max() <= 1e-5  # float32 sums


def test_the_manifest_says_form_hop_and_states(step, bundle):
    manifest = read_bundle(bundle).manifest
    assert (manifest.streaming.form, manifest.streaming.hop_samples) == ("incremental", CHUNK)
    assert manifest.states == step.states
    numbers = sum(np.prod(state.shape) for state in step.states)
    assert manifest.measured["states_size_bytes"] == 4 * numbers


def test_the_table_holds_every_way_to_torch(bundle):
    cells = read_table(read_bundle(bundle).manifest.measured)
    assert {(cell.form, cell.against) for cell in cells} == {
        ("offline", "torch"),
        ("incremental", "torch"),
    }
    assert {cell.tolerance for cell in cells} == {1e-5}
    assert {"159", "7", "160", "0 to 321"} < {cell.chunk_samples for cell in cells}


def test_the_golden_is_a_recording_of_many_hops_that_doctor_replays(step, bundle):
    golden = read_bundle(bundle).golden()
    assert golden.pcm.shape == (1, 7 * CHUNK)
    assert np.abs(golden.posteriors - step.answers(golden.pcm)).max() <= 1e-5
    report = check(bundle)
    assert report.passed
    assert {(cell.form, cell.against) for cell in report.replayed} == {
        ("offline", "golden"),
        ("incremental", "golden"),
        ("incremental", "offline"),
    }


def test_a_stream_that_differs_from_the_trained_form_writes_nothing(tmp_path):
    class Ahead(TinyStep):
        def answers(self, waveform):
            return super().answers(waveform.flip(1))

    with pytest.raises(ExportError, match="the stream would differ from the trained form by"):
        export(tmp_path / "tiny.bundle", module=Ahead(tiny_step().model))
    assert list(tmp_path.iterdir()) == []


def test_another_models_graph_is_refused(graph, tmp_path, monkeypatch):
    other = tiny_step(seed=1)
    with pytest.raises(ExportError, match="the exported graph differs from the trained model by"):
        export(tmp_path / "tiny.bundle", module=other)
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_drops_a_sample_is_named(tmp_path, monkeypatch):
    push = Stream.push

    def drops(self, block):
        return push(self, block[:-1] if len(block) == CHUNK - 1 else block)

    monkeypatch.setattr(Stream, "push", drops)
    with pytest.raises(ExportError, match=r"incremental in blocks of 159 samples: its answers"):
        export(tmp_path / "tiny.bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", INT8)
def test_8_bits_are_written_with_what_was_measured_over_steps(precision, asked, tmp_path):
    out = tmp_path / "tiny.bundle"
    manifest = export(out, quantization=asked(precision))
    measured = manifest.measured
    assert measured["snr_db"] >= 20.0
    assert measured["streams_snr_db"] >= 20.0
    assert measured["valid"]["clips"] == 24
    cells = read_table(measured)
    assert {(cell.form, cell.against) for cell in cells} == {
        ("offline", "torch"),
        ("incremental", "offline"),
    }
    assert {"960", "16000"} < {cell.chunk_samples for cell in cells if cell.form == "offline"}
    assert check(out).passed


@pytest.mark.parametrize("precision", INT8)
def test_the_gate_reads_every_step_and_judges_by_the_last(precision, step, graph, asked):
    accepted = quantize(graph, asked(precision))
    comparison = accepted.comparison

    def stepped(which):
        engine = Engine(which)
        face = Face.of(engine.inputs)
        return [face.answers(engine.run, clip[None], "posteriors") for clip in CLIPS[12:]]

    float32, int8 = stepped(graph), stepped(accepted.graph)
    assert {len(answers) for answers in int8} == {6}  # 860 samples and silence before them
    gap = np.abs(np.concatenate(float32) - np.concatenate(int8)).max()
    assert comparison.largest_difference == pytest.approx(gap, abs=1e-6)
    logits = [np.log(np.concatenate(answers)) for answers in (float32, int8)]
    centred = [rows - rows.mean(axis=1, keepdims=True) for rows in logits]
    assert comparison.snr_db == pytest.approx(snr_db(*centred), abs=0.1)  # by way of a softmax
    agree = [
        ours[-1].argmax() == theirs[-1].argmax() for ours, theirs in zip(int8, float32, strict=True)
    ]
    assert comparison.float32_accuracy == 1.0
    assert comparison.accuracy == np.mean(agree)


@pytest.mark.parametrize("precision", INT8)
def test_ten_seconds_later_the_error_is_what_it_was(precision, graph, monkeypatch):
    quantizer = Quantizer(graph, precision, CLIPS[:12])
    quantized = quantizer.quantized([layer.name for layer in quantizer.layers])

    def stepped(which, stream):
        engine = Engine(which)
        return np.log(Face.of(engine.inputs).answers(engine.run, stream[None], "posteriors"))

    monkeypatch.setattr("export.clips._STREAM_SAMPLES", 160_000)
    for stream in long_streams(CLIPS[12:]):
        assert stream.shape == (160_000,)
        float32, int8 = (stepped(which, stream) for which in (graph, quantized))
        parts = [snr_db(float32[some], int8[some]) for some in np.split(np.arange(1000), 5)]
        assert min(parts) >= 25.0
        assert parts[-1] >= parts[0] - 3.0  # errors that went round would add up


def test_a_stream_that_loses_the_signal_is_refused(graph, step):
    same = Judge(graph, evidence(step)).compare(graph)
    assert (same.streams_snr_db, same.streams_largest_difference) == (100.0, 0.0)
    assert same.faults(Limits()) == []
    drifted = dataclasses.replace(same, streams_snr_db=12.0)
    assert drifted.faults(Limits()) == [
        "the logits of streams of 10 s are 12.0 dB above the error, 20 are asked"
    ]


def test_ranges_of_clips_alone_would_miss_what_streams_hold(graph, step, monkeypatch):
    def streams_snr_db():
        quantizer = Quantizer(graph, Precision.INT8_STATIC, CLIPS[:12])
        names = [layer.name for layer in quantizer.layers]
        return Judge(graph, evidence(step)).compare(quantizer.quantized(names)).streams_snr_db

    with_streams = streams_snr_db()
    monkeypatch.setattr("export.quantize.long_streams", lambda clips: [])
    assert with_streams > streams_snr_db() + 3.0
