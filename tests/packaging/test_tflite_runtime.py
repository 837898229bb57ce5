"""A TFLite bundle on tflite-runtime 2.14, numpy 1 and the device wheel alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_device_wheel import LABELS, WINDOW_SAMPLES, _install_or_skip, _interpreter, _run, wheel

from export.bundle import export_keywords
from export.gate import Evidence, Limits, Quantization
from export.quantize import Precision
from runtime import load
from runtime.manifest import Decision, Streaming
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.tasks.keywords import KeywordModel

__all__ = ["wheel"]  # the fixture, made as for the other engines

VERSION = "3.11"
"""The last that tflite-runtime has wheels for."""
ANSWERS = """
import sys, json, numpy as np, otolite_runtime
model = otolite_runtime.load(sys.argv[1])
print(json.dumps([model.posteriors(window).tolist() for window in np.load(sys.argv[2])]))
"""

pytestmark = pytest.mark.network


def clips(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(WINDOW_SAMPLES) / 16_000
    tones = 0.4 * np.sin(2 * np.pi * rng.uniform(100, 4_000, (count, 1)) * time)
    return (tones + rng.normal(0, 0.05, (count, WINDOW_SAMPLES))).astype(np.float32)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, Path]:
    """In float and in dynamic 8 bits, which tflite-runtime gets wrong in silence if it can."""
    pytest.importorskip("litert_torch", reason="the extra 'tflite' is not installed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = DsCnn(DsCnnConfig(num_mels=12, channels=6, num_blocks=1))
        model = KeywordModel(body, LABELS).eval()
        with torch.no_grad():
            model.classifier.weight.mul_(4)
    made = {}
    for precision in (Precision.FLOAT32, Precision.INT8_DYNAMIC):
        quantization = None
        if precision is not Precision.FLOAT32:
            quantization = Quantization(
                precision=precision,
                evidence=Evidence(calibration=clips(8, 1), windows=clips(16, 2), wanted=None),
                limits=Limits(min_snr_db=10.0),  # untrained: its answers lie close together
            )
        made[precision] = tmp_path_factory.mktemp("bundle") / precision.value
        export_keywords(
            model,
            made[precision],
            name="tiny",
            labels=LABELS,
            streaming=Streaming(window_samples=WINDOW_SAMPLES, hop_samples=1_600),
            decision=Decision(keywords=("no", "yes"), threshold=0.9),
            provenance={},
            measured={},
            quantization=quantization,
            formats=("tflite",),
        )
    return made


def test_tflite_runtime_runs_a_bundle_in_float_and_in_8_bits(
    wheel: Path,
    bundles: dict[Precision, Path],
    tmp_path: Path,
) -> None:
    python = _interpreter(VERSION, tmp_path)
    if python is None:
        pytest.skip(f"Python {VERSION} is not installed on this machine")
    assert _run(python, "-m", "venv", tmp_path / "bare", cwd=tmp_path).returncode == 0
    bare = tmp_path / "bare" / "bin" / "python"
    pip = (bare, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    what = f"otolite-runtime[tflite-runtime] @ {wheel.as_uri()}"
    _install_or_skip(_run(*pip, "--no-compile", "--only-binary=:all:", what, cwd=tmp_path))

    windows = clips(12, 5)
    np.save(tmp_path / "windows.npy", windows)
    for precision, bundle in bundles.items():
        doctor = _run(bare, "-m", "otolite_runtime", "doctor", bundle, "--json", cwd=tmp_path)
        assert doctor.returncode == 0, doctor.stderr
        report = json.loads(doctor.stdout)
        assert report["passed"] is True
        assert report["engine"].startswith("tflite-runtime 2.14")
        answer = _run(bare, "-c", ANSWERS, bundle, tmp_path / "windows.npy", cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        model = load(bundle)
        expected = np.array([model.posteriors(window) for window in windows])
        # float32 on one machine; in 8 bits a float near the middle of two steps goes to either
        near = 1e-5 if precision is Precision.FLOAT32 else 0.02
        np.testing.assert_allclose(json.loads(answer.stdout), expected, atol=near)
        assert np.ptp(expected, axis=0).max() > 2 * near  # answers worth comparing

    cut = bundles[Precision.FLOAT32] / "model.tflite"
    (tmp_path / "cut.tflite").write_bytes(cut.read_bytes()[:-1_000])
    refused = _run(bare, "-c", CUT, tmp_path / "cut.tflite", cwd=tmp_path)
    assert refused.stdout.startswith("the .tflite model is damaged: "), refused.stderr
    assert refused.returncode == 0


CUT = """
import sys
from pathlib import Path
from otolite_runtime.faults import BundleFault
from otolite_runtime.stream import engine_for
try:
    engine_for("model.tflite", Path(sys.argv[1]).read_bytes(), threads=1)
except BundleFault as fault:
    print(fault)
"""
