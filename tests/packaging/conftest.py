"""Bundles to try elsewhere, and the device wheel; what lies beside can be imported."""

import functools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bare_environment import install_or_skip, run
from tiny_bundles import write_bundle


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as `compress export` writes it, random weights."""
    out = tmp_path_factory.mktemp("bundle") / "tiny"
    return write_bundle(out, "sliding_window-float32", ("onnx",))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A bundle of `tiny_bundles.KINDS` with the graphs of both formats, written once."""

    @functools.cache
    def of(kind: str) -> Path:
        pytest.importorskip("litert_torch", reason="the extra 'tflite' is not installed")
        return write_bundle(tmp_path_factory.mktemp(kind) / kind, kind, ("onnx", "tflite"))

    return of


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The device wheel, as `make device-wheel` builds it."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path_factory.mktemp("dist")
    root = Path(__file__).parents[2]
    made = run("make", "device-wheel", f"PYTHON={sys.executable}", f"DIST={folder}", cwd=root)
    install_or_skip(made)
    (path,) = folder.iterdir()
    return path
