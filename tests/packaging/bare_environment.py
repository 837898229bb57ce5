"""Environments that hold the device wheel and one engine, and what such a one is asked."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NO_INDEX = ("No matching distribution found", "Could not find a version", "Connection", "Network")
HOLDS = """
import importlib.metadata as metadata, importlib.util as util, json
names = [found.metadata["Name"].lower().replace("-", "_") for found in metadata.distributions()]
print(json.dumps({"packages": names, "runtime": util.find_spec("runtime") is not None}))
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command that knows nothing of this process: no path to our sources, no settings of make."""
    strange = ("PYTHONPATH", "PYTHONHOME", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYENV_VERSION")
    environment = {name: value for name, value in os.environ.items() if name not in strange}
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=cwd, env=environment
    )


def install_or_skip(result: subprocess.CompletedProcess[str]) -> None:
    """Skip the test where what failed is the way to the package index."""
    if result.returncode and any(words in result.stderr for words in NO_INDEX):
        pytest.skip(f"no package index is reached: {result.stderr.strip().splitlines()[-1]}")
    assert result.returncode == 0, result.stderr


def interpreter(version: str, cwd: Path) -> Path:
    """A Python of this version, on the path or of pyenv or uv; without one the test is skipped."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    uv = Path.home() / ".local" / "share" / "uv" / "python"
    on_path = [Path(found)] if (found := shutil.which(name)) else []
    installed = [*pyenv.glob(f"{version}.*/bin/{name}"), *uv.glob(f"cpython-{version}*/bin/{name}")]
    for path in (*on_path, *sorted(installed)):
        # pyenv's shims are on the path for versions that they then refuse to run.
        if run(path, "-c", "import venv, ensurepip", cwd=cwd).returncode == 0:
            return path
    pytest.skip(f"Python {version} is not installed on this machine")


def bare_python(version: str, wheel: Path, extra: str, cwd: Path) -> Path:
    """The Python of a new environment with the wheel, what its extra names, and nothing else."""
    python = interpreter(version, cwd)
    assert run(python, "-m", "venv", cwd / "bare", cwd=cwd).returncode == 0
    bare = cwd / "bare" / "bin" / "python"
    pip = (bare, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    what = f"otolite-runtime[{extra}] @ {wheel.as_uri()}"
    install_or_skip(run(*pip, "--no-compile", "--only-binary=:all:", what, cwd=cwd))
    return bare


def packages_of(bare: Path, cwd: Path) -> set[str]:
    """Names of all that an environment holds; our sources are not among it."""
    held = json.loads(run(bare, "-c", HOLDS, cwd=cwd).stdout)
    assert not held["runtime"]
    return set(held["packages"])


def passing_report(bare: Path, bundle: Path, cwd: Path) -> dict[str, Any]:
    """What the wheel's doctor finds, and it finds no fault."""
    doctor = run(bare, "-m", "otolite_runtime", "doctor", bundle, "--json", cwd=cwd)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    report: dict[str, Any] = json.loads(doctor.stdout)
    assert report["passed"] is True
    return report
