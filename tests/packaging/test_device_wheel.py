"""The device wheel beside numpy and the engine alone, on every Python that this machine has."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest

from runtime import load

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13")
MAX_BYTES = 1_000_000
# What onnxruntime itself asks for, in any of its versions since 1.20.
OF_THE_ENGINE = {"coloredlogs", "humanfriendly", "flatbuffers", "packaging", "protobuf", "sympy"}
OF_THE_ENGINE |= {"mpmath", "typing_extensions", "ml_dtypes"}
NO_INDEX = ("No matching distribution found", "Could not find a version", "Connection", "Network")
HOLDS = """
import importlib.metadata as metadata, importlib.util as util, json
names = [found.metadata["Name"].lower().replace("-", "_") for found in metadata.distributions()]
print(json.dumps({"packages": names, "runtime": util.find_spec("runtime") is not None}))
"""
ANSWERS = """
import sys, numpy as np, otolite_runtime
model = otolite_runtime.load(sys.argv[1])
stream = model.stream()
stream.push(np.zeros(9_000, dtype=np.int16))
print(model.posteriors(np.load(sys.argv[2])).tolist())
"""

pytestmark = pytest.mark.network


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command that knows nothing of this process: no path to our sources, no settings of make."""
    strange = ("PYTHONPATH", "PYTHONHOME", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYENV_VERSION")
    environment = {name: value for name, value in os.environ.items() if name not in strange}
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=cwd, env=environment
    )


def _install_or_skip(result: subprocess.CompletedProcess[str]) -> None:
    if result.returncode and any(words in result.stderr for words in NO_INDEX):
        pytest.skip(f"no package index is reached: {result.stderr.strip().splitlines()[-1]}")
    assert result.returncode == 0, result.stderr


def _interpreter(version: str, cwd: Path) -> Path | None:
    """A Python of this version: on the path, or among those that pyenv or uv installed."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    uv = Path.home() / ".local" / "share" / "uv" / "python"
    on_path = [Path(found)] if (found := shutil.which(name)) else []
    installed = [*pyenv.glob(f"{version}.*/bin/{name}"), *uv.glob(f"cpython-{version}*/bin/{name}")]
    for path in (*on_path, *sorted(installed)):
        # pyenv's shims are on the path for versions that they then refuse to run.
        if _run(path, "-c", "import venv, ensurepip", cwd=cwd).returncode == 0:
            return path
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path_factory.mktemp("dist")
    made = _run("make", "device-wheel", f"PYTHON={sys.executable}", f"DIST={folder}", cwd=ROOT)
    _install_or_skip(made)
    (path,) = folder.iterdir()
    return path


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
    python = _interpreter(version, tmp_path)
    if python is None:
        pytest.skip(f"Python {version} is not installed on this machine")
    assert _run(python, "-m", "venv", tmp_path / "bare", cwd=tmp_path).returncode == 0
    bare = tmp_path / "bare" / "bin" / "python"
    pip = (bare, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    only = ("--no-compile", "--only-binary=:all:")
    _install_or_skip(_run(*pip, *only, f"otolite-runtime[onnx] @ {wheel.as_uri()}", cwd=tmp_path))

    held = json.loads(_run(bare, "-c", HOLDS, cwd=tmp_path).stdout)
    assert {"otolite_runtime", "numpy", "onnxruntime"} <= set(held["packages"])
    ours = {"otolite_runtime", "numpy", "onnxruntime", "pip", "setuptools"}
    assert set(held["packages"]) - ours <= OF_THE_ENGINE
    assert not held["runtime"]

    archive = Path(shutil.make_archive(str(tmp_path / "sent"), "zip", exported))
    for bundle in (exported, archive):
        doctor = _run(bare, "-m", "otolite_runtime", "doctor", bundle, "--json", cwd=tmp_path)
        assert doctor.returncode == 0, doctor.stderr
        report = json.loads(doctor.stdout)
        assert report["passed"] is True
        assert report["python"].startswith(f"{version}.")
        assert report["engine"].startswith("onnxruntime ")

    model = load(exported)
    window_samples = model.manifest.streaming.window_samples
    window = np.random.default_rng(0).uniform(-0.5, 0.5, window_samples).astype(np.float32)
    np.save(tmp_path / "window.npy", window)
    answer = _run(bare, "-c", ANSWERS, exported, tmp_path / "window.npy", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    expected = model.posteriors(window)
    # float32 on one machine; versions of numpy and the engine may differ
    np.testing.assert_allclose(json.loads(answer.stdout), expected, atol=1e-5)

    archive.write_bytes(archive.read_bytes()[:-30])
    refused = _run(bare, "-m", "otolite_runtime", "doctor", archive, cwd=tmp_path)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: ")
