"""TFLite bundles beside the device wheel, numpy and one engine alone: LiteRT, or tflite-runtime."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bare_environment import bare_python, packages_of, passing_report, run
from tiny_bundles import clips

from runtime.bundle import read_bundle
from runtime.stream import start_all

HERE = ".".join(map(str, sys.version_info[:2]))
ENGINES = {
    # the last Python that tflite-runtime has wheels for
    "tflite-runtime": ("3.11", "tflite-runtime 2.14", set()),
    # what it asks for itself
    "tflite": (
        HERE,
        "ai-edge-litert ",
        {"backports.strenum", "flatbuffers", "ml_dtypes", "protobuf", "tqdm", "typing_extensions"},
    ),
}
"""By the wheel's extra: the Python to take, the engine's name and what comes with it."""
KINDS = ("sliding_window-float32", "sliding_window-int8-dynamic", "incremental-float32")
"""In 8 bits tflite-runtime gets wrong in silence what it can."""
NUM_RECORDINGS = 12
ANSWERS = """
import sys, json, numpy as np, otolite_runtime
model = otolite_runtime.load(sys.argv[1])
recordings = np.load(sys.argv[2])
stream = model.stream()
for block in np.array_split((recordings[0] * 32_767).astype(np.int16), 7):
    stream.push(block)
print(json.dumps([model.posteriors(one).tolist() for one in recordings]))
"""
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

pytestmark = pytest.mark.network


@pytest.mark.parametrize("extra", ENGINES)
def test_an_engine_alone_runs_windows_8_bits_and_steps(
    wheel: Path, bundle: Callable[[str], Path], tmp_path: Path, extra: str
) -> None:
    version, engine, of_the_engine = ENGINES[extra]
    bare = bare_python(version, wheel, extra, tmp_path)
    held = packages_of(bare, tmp_path)
    ours = {"otolite_runtime", "numpy", engine.split(" ")[0].replace("-", "_"), "pip", "setuptools"}
    assert held - ours <= of_the_engine

    for kind in KINDS:
        report = passing_report(bare, bundle(kind), tmp_path)
        assert report["engine"].startswith(engine)
        assert {row["file"] for row in report["replayed"]} == {"model.tflite"}
        form = kind.partition("-")[0]
        assert {row["form"] for row in report["replayed"]} == {"offline", form}
        if extra == "tflite-runtime":
            assert report["numpy"].startswith("1.")

        here = dict(start_all(read_bundle(bundle(kind))))["model.tflite"]
        streaming = here.manifest.streaming
        over = streaming.window_samples % streaming.hop_samples if here.manifest.states else 0
        recordings = clips(NUM_RECORDINGS, 5, streaming.window_samples - over)
        np.save(tmp_path / "recordings.npy", recordings)
        answer = run(bare, "-c", ANSWERS, bundle(kind), tmp_path / "recordings.npy", cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        expected = np.array([here.posteriors(one) for one in recordings])
        # float32 on one machine; in 8 bits a float near the middle of two steps goes to either
        near = 0.02 if "int8" in kind else 1e-5
        np.testing.assert_allclose(json.loads(answer.stdout), expected, atol=near)
        assert np.ptp(expected, axis=0).max() > 2 * near  # answers worth comparing

    whole = (bundle(KINDS[0]) / "model.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[:-1_000])
    refused = run(bare, "-c", CUT, tmp_path / "cut.tflite", cwd=tmp_path)
    assert refused.stdout.startswith("the .tflite model is damaged: "), refused.stderr
    assert refused.returncode == 0
