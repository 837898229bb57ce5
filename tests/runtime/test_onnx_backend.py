"""The ONNX engine, and what load says where it does not fit."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime import BundleFault, Manifest, load
from runtime.backends.onnx import Engine
from runtime.bundle import Bundle, Tensor, read_bundle
from runtime.stream import start


def test_the_engine_computes_the_graph(
    onnx_bytes: Callable[..., bytes], expected_posteriors: Callable[[np.ndarray], np.ndarray]
) -> None:
    engine = Engine(onnx_bytes(), threads=2)
    assert engine.inputs == (Tensor(name="pcm", shape=("batch", "samples"), dtype="float32"),)
    assert engine.outputs == (Tensor(name="posteriors", shape=("batch", 3), dtype="float32"),)
    for shape in ((1, 800), (3, 1), (2, 4001)):
        pcm = np.random.default_rng(0).uniform(-0.3, 0.3, shape).astype(np.float32)
        posteriors = engine.run({"pcm": pcm})["posteriors"]
        # float32 sums over 4001 samples
        np.testing.assert_allclose(posteriors, expected_posteriors(pcm), atol=2e-6)


@pytest.mark.parametrize("model", [b"", b"not a graph", b"\x08\x09" * 50])
def test_bytes_that_are_no_graph_are_refused(model: bytes) -> None:
    with pytest.raises(BundleFault, match="cannot load the model"):
        Engine(model)


def test_an_input_of_another_shape_is_refused_in_words(onnx_bytes: Callable[..., bytes]) -> None:
    engine = Engine(onnx_bytes(800))
    with pytest.raises(BundleFault, match=r"\(1, 801\)"):
        engine.run({"pcm": np.zeros((1, 801), dtype=np.float32)})


def test_a_missing_onnxruntime_says_what_to_install(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BundleFault, match=r"pip install \"onnxruntime"):
        load(bundle)


def test_a_model_of_an_unknown_kind_is_refused(make_manifest: Callable[..., Manifest]) -> None:
    zeros = "0" * 64
    manifest = make_manifest({"model.gguf": zeros, "golden.npz": zeros})
    with pytest.raises(BundleFault, match="gguf"):
        start(Bundle(manifest=manifest, files={"model.gguf": b"", "golden.npz": b""}))


def test_a_graph_that_is_not_the_manifests_is_refused(
    bundle: Path, onnx_bytes: Callable[..., bytes]
) -> None:
    whole = read_bundle(bundle)
    fixed = dataclasses.replace(whole, files=whole.files | {"model.onnx": onnx_bytes(800)})
    assert start(fixed).labels == whole.manifest.labels
    other = dataclasses.replace(whole, files=whole.files | {"model.onnx": onnx_bytes(801)})
    with pytest.raises(BundleFault, match="graph's inputs"):
        start(other)
    four = dataclasses.replace(whole.manifest, labels=("a", "b", "yes", "no"), outputs=())
    with pytest.raises(BundleFault, match="graph's outputs"):
        start(dataclasses.replace(whole, manifest=four))


def test_a_number_of_threads_below_one_is_refused(bundle: Path) -> None:
    with pytest.raises(BundleFault, match="threads"):
        load(bundle, threads=0)


def test_a_bound_run_reads_and_writes_the_callers_memory(onnx_bytes: Callable[..., bytes]) -> None:
    engine = Engine(onnx_bytes())
    pcm, posteriors = (np.zeros((1, size), dtype=np.float32) for size in (800, 3))
    run = engine.bind({"pcm": pcm}, {"posteriors": posteriors})
    for seed in range(2):
        pcm[:] = np.random.default_rng(seed).uniform(-0.3, 0.3, pcm.shape)
        run()
        np.testing.assert_array_equal(posteriors, engine.run({"pcm": pcm})["posteriors"])


def test_a_bound_run_of_other_shapes_is_refused_in_words(onnx_bytes: Callable[..., bytes]) -> None:
    engine = Engine(onnx_bytes(800))
    pcm, posteriors = (np.zeros((1, size), dtype=np.float32) for size in (801, 3))
    with pytest.raises(BundleFault, match=r"\(1, 801\)"):
        engine.bind({"pcm": pcm}, {"posteriors": posteriors})()
    with pytest.raises(BundleFault, match="other inputs"):
        engine.bind({"other": pcm}, {"posteriors": posteriors})
