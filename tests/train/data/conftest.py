"""Little recordings, and the real ones where they are."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parent))  # learners_trees, for the tests here

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def real_data() -> Path:
    """The folder of real recordings; the test skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real recordings in {SHARED}")
    return SHARED


@pytest.fixture
def write_tone(tmp_path: Path) -> Callable[..., Path]:
    """Write a tone below the test's folder; the name's ending chooses the format."""

    def write(
        name: str, *, seconds: float = 0.5, rate: int = 16_000, channels: int = 1, hz: float = 440.0
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * rate)) / rate
        tone = 0.5 * np.sin(2 * np.pi * hz * time)
        soundfile.write(path, np.repeat(tone[:, None], channels, axis=1), rate)
        return path

    return write


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("OTOLITE_CACHE", str(folder))
    return folder
