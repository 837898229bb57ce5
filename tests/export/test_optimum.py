"""Through optimum for real: classifiers of transformers as bundles, and graphs in 8 bits.

Runs where optimum's ONNX part is installed, which is an environment of its own: make optimum-check.
"""

import numpy as np
import onnx
import pytest
import tiny_transformers
import torch
from onnx import TensorProto
from tiny_graphs import LAYERS, audio, evidence, tiny_graph

import runtime
from export.bundle import export_keywords
from export.gate import Judge, Limits, Quantization, quantize
from export.huggingface import ARCHITECTURES, load_classifier, read_checkpoint
from export.layers import layers_of
from export.quantize import Precision, Quantizer
from export.verify import odd_lengths, probe
from runtime.bundle import read_bundle
from runtime.doctor import check
from runtime.manifest import Decision, Streaming

pytest.importorskip("optimum.onnxruntime")

WINDOW = 3_200
GRAPH = tiny_graph()
INT8 = {Precision.INT8_DYNAMIC: LAYERS[2:], Precision.INT8_STATIC: LAYERS}


@pytest.fixture(scope="module", params=[(a, b) for a in ARCHITECTURES for b in (False, True)])
def exported(request, tmp_path_factory):
    """Folder, bundle and manifest; the large form without, the small one with normalization."""
    architecture, large = request.param
    root = tmp_path_factory.mktemp(architecture)
    tiny_transformers.save(root / "model", architecture, normalize=not large, large=large)
    checkpoint = read_checkpoint(root / "model")
    manifest = export_keywords(
        load_classifier(checkpoint),
        root / "a.bundle",
        name="tiny",
        labels=checkpoint.labels,
        streaming=Streaming(window_samples=WINDOW, hop_samples=800),
        decision=Decision(keywords=("no", "yes"), threshold=0.5),
        provenance={},
        measured={},
    )
    return checkpoint, root / "a.bundle", manifest


def by_transformers(checkpoint, pcm):
    """The way its documentation shows, apart from all code of ours."""
    import transformers

    model = transformers.AutoModelForAudioClassification.from_pretrained(checkpoint.folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(checkpoint.folder)
    features = extractor(list(pcm), sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        return model(**features).logits.softmax(-1).numpy()


def test_a_bundle_answers_as_transformers_on_lengths_nobody_rounds_to(exported):
    checkpoint, out, _ = exported
    engine = runtime.load(out).engine
    answers = []
    for length in odd_lengths(WINDOW):
        pcm = probe(length, batch=2, seed=7)
        pcm[1] *= 0.1
        answers.append(engine.run({"pcm": pcm})["posteriors"])
        # float32 sums in another order
        assert np.abs(answers[-1] - by_transformers(checkpoint, pcm)).max() <= 1e-5
    spread = np.ptp(np.concatenate(answers), axis=0).max()
    assert spread > 0.02  # or else a model that hears nothing would pass


def test_loudness_matters_only_where_the_feature_extractor_leaves_it(exported):
    checkpoint, out, _ = exported
    engine = runtime.load(out).engine
    pcm = probe(WINDOW, batch=1, seed=8)
    loud, soft = (engine.run({"pcm": pcm * gain})["posteriors"] for gain in (1.0, 0.1))
    same = np.abs(loud - soft).max() <= 1e-4  # the variance has 1e-7 added
    assert same is np.True_ if checkpoint.normalize else not same


def test_the_doctor_finds_the_bundle_well_and_it_names_no_place(exported):
    _, out, manifest = exported
    assert check(out).passed
    assert manifest.measured["largest_difference_from_torch"] <= 1e-5
    assert {row["against"] for row in manifest.measured["verified"]} == {"torch"}
    assert b"site-packages" not in read_bundle(out).model


def test_layers_are_called_by_the_checkpoints_modules(exported):
    layers = layers_of(onnx.load_from_string(read_bundle(exported[1]).model).graph)
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names)
    assert layers[0].front_end
    assert names[0].endswith("feature_extractor.conv_layers.0.conv")
    assert names[-1] == "classifier"
    for end in ("encoder.layers.1.feed_forward.output_dense", "feature_projection.projection"):
        assert any(name.endswith(end) for name in names)


@pytest.fixture(scope="module", params=INT8)
def quantizer(request):
    return Quantizer(GRAPH, request.param, audio(16, seed=1), library="optimum")


def stored(graph):
    return {tensor.name: tensor for tensor in onnx.load_from_string(graph).graph.initializer}


def test_exactly_the_chosen_layers_are_in_8_bits_and_none_is_signed(quantizer):
    weights = dict(zip(LAYERS, ("first", "deep", "proj", "last"), strict=True))
    for chosen in ([INT8[quantizer.precision][0]], list(INT8[quantizer.precision])):
        kinds = {
            name: tensor.data_type for name, tensor in stored(quantizer.quantized(chosen)).items()
        }
        assert TensorProto.INT8 not in kinds.values()
        found = {
            layer
            for layer, weight in weights.items()
            for name, kind in kinds.items()
            if kind == TensorProto.UINT8 and name.startswith(weight) and "quantized" in name
        }
        assert found == set(chosen)


def test_no_convolution_is_quantized_on_the_fly():
    quantizer = Quantizer(GRAPH, Precision.INT8_DYNAMIC, audio(1, seed=1), library="optimum")
    model = onnx.load_from_string(quantizer.quantized(LAYERS[2:]))
    operators = [node.op_type for node in model.graph.node]
    assert "ConvInteger" not in operators
    assert operators.count("MatMulInteger") == 2


def test_the_front_end_is_as_it_was(quantizer):
    after = stored(quantizer.quantized(INT8[quantizer.precision]))
    for name in ("kernel", "mel", "floor"):
        assert np.array_equal(
            onnx.numpy_helper.to_array(after[name]),
            onnx.numpy_helper.to_array(stored(GRAPH)[name]),
        )


def test_on_the_fly_both_libraries_make_the_same_model():
    names = LAYERS[2:]
    graphs = [
        Quantizer(GRAPH, Precision.INT8_DYNAMIC, audio(1, seed=1), library=name).quantized(names)
        for name in ("onnxruntime", "optimum")
    ]
    first, second = (Judge(GRAPH, evidence()).compare(graph) for graph in graphs)
    assert first == second


def test_with_fixed_ranges_optimum_rounds_what_products_give_too():
    sizes = []
    for library in ("onnxruntime", "optimum"):
        quantizer = Quantizer(GRAPH, Precision.INT8_STATIC, audio(16, seed=1), library=library)
        model = onnx.load_from_string(quantizer.quantized(LAYERS))
        sizes.append(sum(node.op_type == "QuantizeLinear" for node in model.graph.node))
    assert sizes[1] == sizes[0] + 2  # after body.proj and after classifier


@pytest.mark.parametrize("precision", INT8)
def test_the_gate_lets_through_what_is_still_the_model(precision):
    asked = Quantization(
        precision=precision,
        evidence=evidence(),
        quantizer="optimum",
        keep_float=("body.deep",),
        limits=Limits(min_snr_db=25.0),
    )
    accepted = quantize(GRAPH, asked)
    assert accepted.comparison.snr_db >= 25.0
    assert ("body.deep" in accepted.kept_float) is (precision is Precision.INT8_STATIC)
