"""The device wheel beside numpy and the engine alone, on every Python that this machine has."""

import json
import shutil
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest
from bare_environment import bare_python, packages_of, passing_report, run

from runtime import load

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13")
MAX_BYTES = 1_000_000
# What onnxruntime itself asks for, in any of its versions since 1.20.
OF_THE_ENGINE = {"coloredlogs", "humanfriendly", "flatbuffers", "packaging", "protobuf", "sympy"}
OF_THE_ENGINE |= {"mpmath", "typing_extensions", "ml_dtypes"}
ANSWERS = """
import sys, numpy as np, otolite_runtime
model = otolite_runtime.load(sys.argv[1])
stream = model.stream()
stream.push(np.zeros(9_000, dtype=np.int16))
print(model.posteriors(np.load(sys.argv[2])).tolist())
"""

pytestmark = pytest.mark.network


def test_the_wheel_holds_the_runtime_alone_under_its_own_name(wheel: Path) -> None:
    assert wheel.stat().st_size <= MAX_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        facts = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(facts).decode())
        unpacked_bytes = sum(info.file_size for info in archive.infolist())
        for path in (ROOT / "runtime").rglob("*.py"):
            name = f"otolite_runtime/{path.relative_to(ROOT / 'runtime').as_posix()}"
            assert archive.read(name) == path.read_bytes()
    assert unpacked_bytes <= MAX_BYTES
    code = {name for name in names if ".dist-info/" not in name}
    assert len(code) == len(list((ROOT / "runtime").rglob("*.py")))
    assert any(name.endswith("licenses/LICENSE") for name in names)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["Version"] == project["version"]
    needed = [need for need in metadata.get_all("Requires-Dist") if "extra" not in need]
    assert needed == ["numpy>=1.26"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bare_environment_runs_an_exported_bundle(
    wheel: Path, exported: Path, tmp_path: Path, version: str
) -> None:
    bare = bare_python(version, wheel, "onnx", tmp_path)
    held = packages_of(bare, tmp_path)
    assert {"otolite_runtime", "numpy", "onnxruntime"} <= held
    ours = {"otolite_runtime", "numpy", "onnxruntime", "pip", "setuptools"}
    assert held - ours <= OF_THE_ENGINE

    archive = Path(shutil.make_archive(str(tmp_path / "sent"), "zip", exported))
    for bundle in (exported, archive):
        report = passing_report(bare, bundle, tmp_path)
        assert report["python"].startswith(f"{version}.")
        assert report["engine"].startswith("onnxruntime ")

    model = load(exported)
    window_samples = model.manifest.streaming.window_samples
    window = np.random.default_rng(0).uniform(-0.5, 0.5, window_samples).astype(np.float32)
    np.save(tmp_path / "window.npy", window)
    answer = run(bare, "-c", ANSWERS, exported, tmp_path / "window.npy", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    expected = model.posteriors(window)
    # float32 on one machine; versions of numpy and the engine may differ
    np.testing.assert_allclose(json.loads(answer.stdout), expected, atol=1e-5)

    archive.write_bytes(archive.read_bytes()[:-30])
    refused = run(bare, "-m", "otolite_runtime", "doctor", archive, cwd=tmp_path)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: ")
