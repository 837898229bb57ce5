"""A model in 8 bits is written only where it is still the model."""

import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_graphs import LAYERS, audio, evidence, tiny_graph

from export import ExportError
from export.gate import (
    AUTO,
    SNR_CEILING_DB,
    Judge,
    Limits,
    Quantization,
    _fewest_left_out,
    quantize,
    snr_db,
)
from export.quantize import Precision, Quantizer
from runtime.backends.onnx import Engine

INT8 = [precision for precision in Precision if precision is not Precision.FLOAT32]
GRAPH = tiny_graph()
FLOATS = Engine(GRAPH).run({"pcm": audio(24, seed=2)})["posteriors"]
WANTED = FLOATS.argmax(axis=1)
SAME = Judge(GRAPH, evidence()).compare(GRAPH)


def asked(precision=Precision.INT8_STATIC, **changes):
    values = {"precision": precision, "evidence": evidence(wanted=WANTED)}
    return Quantization(**(values | changes))


@pytest.mark.parametrize("precision", INT8)
def test_a_sound_model_passes_with_what_was_measured(precision):
    accepted = quantize(GRAPH, asked(precision, sensitivity=True))
    comparison = accepted.comparison
    engine = Engine(accepted.graph)
    answers = np.concatenate(
        [engine.run({"pcm": row[None]})["posteriors"] for row in audio(24, seed=2)]
    )
    logits, expected = (np.log(rows) for rows in (answers, FLOATS))
    logits -= logits.mean(axis=1, keepdims=True)
    expected -= expected.mean(axis=1, keepdims=True)
    error = np.square(logits - expected).sum()
    by_hand = 10 * math.log10(np.square(expected).sum() / error)
    assert comparison.snr_db == pytest.approx(by_hand, abs=0.1)  # logits by way of a softmax
    assert 20.0 <= comparison.snr_db < 80.0
    assert comparison.odd_lengths_snr_db >= 20.0
    assert comparison.largest_difference == pytest.approx(np.abs(answers - FLOATS).max(), abs=1e-6)
    assert (comparison.float32_accuracy, comparison.accuracy) == (
        1.0,
        (answers.argmax(1) == WANTED).mean(),
    )
    assert accepted.kept_float == ()
    assert set(accepted.layers_snr_db) <= set(LAYERS)
    # The whole is never better than its worst layer, but for errors that happen to cancel.
    assert comparison.snr_db <= min(accepted.layers_snr_db.values()) + 3.0


def test_layers_kept_in_float_are_told_and_bring_the_model_closer():
    all_in_8_bits = quantize(GRAPH, asked())
    some = quantize(GRAPH, asked(keep_float=("body.*",)))
    assert some.kept_float == ("body.first", "body.deep", "body.proj")
    assert some.comparison.snr_db > all_in_8_bits.comparison.snr_db
    assert some.layers_snr_db is None


def way_out(message):
    named = re.findall(r"--keep-float (\S+)", message)
    assert named.pop() == "auto"  # told last, as what finds the others by itself
    return tuple(named)


def test_a_layer_with_an_outlier_is_named_and_without_it_the_model_passes():
    graph = tiny_graph(outlier=3_000.0)
    assert np.allclose(Engine(graph).run({"pcm": audio(24, seed=2)})["posteriors"], FLOATS)
    with pytest.raises(ExportError, match="int8-static was not written") as refused:
        quantize(graph, asked())
    assert way_out(str(refused.value)) == ("body.deep",)
    accepted = quantize(graph, asked(keep_float=("body.deep",)))
    assert accepted.comparison.snr_db >= 20.0


def test_auto_leaves_out_what_the_refusal_names_and_nothing_where_all_is_well():
    graph = tiny_graph(outlier=3_000.0)
    found = quantize(graph, asked(keep_float=(AUTO,)))
    assert found.kept_float == ("body.deep",)
    assert found.graph == quantize(graph, asked(keep_float=("body.deep",))).graph
    assert found.comparison.faults(Limits()) == []
    beside = quantize(graph, asked(keep_float=("classifier", AUTO)))
    assert beside.kept_float == ("body.deep", "classifier")
    assert quantize(GRAPH, asked(keep_float=(AUTO,))).kept_float == ()


def test_auto_keeps_stricter_limits_by_leaving_out_more():
    stricter = Limits(min_snr_db=quantize(GRAPH, asked()).comparison.snr_db + 1.0)
    found = quantize(GRAPH, asked(keep_float=(AUTO,), limits=stricter))
    assert found.comparison.snr_db >= stricter.min_snr_db
    assert 0 < len(found.kept_float) < len(LAYERS)
    with pytest.raises(ExportError, match="No choice of layers passes"):
        quantize(GRAPH, asked(keep_float=(AUTO,), limits=Limits(min_snr_db=SNR_CEILING_DB)))


class OpensAfter:
    """Judge and quantizer of layers 0, 1, …: limits are kept once so many are left out."""

    def __init__(self, layers, needed):
        self.layers, self.needed, self.tried = layers, needed, []

    def quantized(self, names):
        self.tried.append(self.layers - len(names))
        return b""

    def compare(self, _graph):
        return dataclasses.replace(SAME, snr_db=30.0 if self.tried[-1] >= self.needed else 10.0)


@given(layers=st.integers(2, 60), needed=st.integers(1, 60))
def test_the_fewest_are_left_out_where_one_more_never_hurts(layers, needed):
    gate = OpensAfter(layers, needed)
    worst = [str(number) for number in range(layers)]
    found = _fewest_left_out(gate, gate, worst, Limits())
    expected = set(worst[needed:])
    assert (set() if found is None else found.names) == expected
    assert len(gate.tried) == len(set(gate.tried)) <= 2 * layers.bit_length()


def test_ranges_that_saturate_on_louder_audio_are_caught():
    quiet = evidence(wanted=WANTED, loudness=0.01)
    with pytest.raises(ExportError, match="dB above the error, 20 are asked") as refused:
        quantize(GRAPH, asked(evidence=quiet))
    kept = way_out(str(refused.value))
    assert kept
    quantize(GRAPH, asked(evidence=quiet, keep_float=kept))


def test_accuracy_is_a_share_of_the_labelled_windows_and_alone_can_refuse():
    judge = Judge(GRAPH, evidence(wanted=np.where(np.arange(24) < 6, WANTED, (WANTED + 1) % 3)))
    comparison = judge.compare(GRAPH)
    assert comparison.float32_accuracy == comparison.accuracy == 0.25
    lost = dataclasses.replace(comparison, accuracy=0.90, float32_accuracy=0.91)
    assert lost.faults(Limits(max_accuracy_drop=0.02)) == []
    assert lost.faults(Limits()) == ["accuracy falls from 0.9100 to 0.9000, 0.005 may be lost"]


def test_without_labels_the_logits_decide():
    accepted = quantize(GRAPH, asked(evidence=evidence()))
    assert (accepted.comparison.accuracy, accepted.comparison.float32_accuracy) == (None, None)
    with pytest.raises(ExportError, match="No choice of layers passes"):
        quantize(GRAPH, asked(evidence=evidence(), limits=Limits(min_snr_db=SNR_CEILING_DB)))


def test_an_answer_that_is_no_number_breaks_the_limit():
    comparison = Judge(GRAPH, evidence()).compare(GRAPH)
    assert comparison.snr_db == SNR_CEILING_DB
    assert snr_db(np.ones((2, 3)), np.full((2, 3), np.nan)) != SNR_CEILING_DB
    broken = dataclasses.replace(comparison, snr_db=math.nan)
    assert len(broken.faults(Limits())) == 1


def test_sensitivity_is_that_of_one_layer_alone():
    asked_for = evidence()
    judge = Judge(GRAPH, asked_for)
    quantizer = Quantizer(GRAPH, Precision.INT8_STATIC, asked_for.calibration)
    costs = judge.sensitivity(quantizer, ["body.deep", "classifier"])
    assert list(costs) == ["body.deep", "classifier"]
    alone = judge.compare(quantizer.quantized(["body.deep"])).snr_db
    assert costs["body.deep"] == pytest.approx(alone, abs=1e-9)  # 24 windows: all are used


@given(
    seed=st.integers(0, 999),
    error_db=st.floats(-60, 20),
    scale=st.floats(1e-3, 1e3),
)
def test_the_ratio_is_the_errors_whatever_the_scale(seed, error_db, scale):
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(5, 4))
    noise = rng.normal(size=(5, 4))
    noise *= np.sqrt(np.square(signal).sum() / np.square(noise).sum()) * 10 ** (error_db / 20)
    assert snr_db(scale * signal, scale * (signal + noise)) == pytest.approx(-error_db, abs=1e-6)
    assert snr_db(signal, signal) == SNR_CEILING_DB


def test_another_machines_answers_may_differ_by_little():
    for precision in INT8:
        assert 1e-3 <= quantize(GRAPH, asked(precision)).tolerance <= 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_snr_db": 0.0}, "min_snr_db must lie in"),
        ({"min_snr_db": math.nan}, "min_snr_db must lie in"),
        ({"min_snr_db": 101.0}, "min_snr_db must lie in"),
        ({"max_accuracy_drop": -0.1}, "max_accuracy_drop must lie in"),
        ({"max_accuracy_drop": 1.5}, "max_accuracy_drop must lie in"),
    ],
)
def test_limits_have_limits(changes, message):
    with pytest.raises(ExportError, match=message):
        Limits(**changes)
