"""The bundles that ship: small, whole, of data that allows it, and right on this machine."""

from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime.bundle import read_bundle
from runtime.doctor import check

PLACE = Path(__file__).parents[2] / "spotters"
SHIPPED = sorted(path.name for path in PLACE.iterdir() if path.is_dir())
MOST_BYTES = 1_000_000
FREE = ("CC BY 4.0", "Apache-2.0", "public domain")


def test_spotters_ship():
    assert SHIPPED == ["wake-words"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bundle_is_small_and_says_what_it_was_made_of(name):
    bundle = read_bundle(PLACE / name)
    assert sum(path.stat().st_size for path in (PLACE / name).iterdir()) < MOST_BYTES
    manifest = bundle.manifest
    assert manifest.measured["precision"] == "int8-static"
    assert set(manifest.decision.thresholds) == set(manifest.decision.keywords)
    assert manifest.measured["calibration"]["hours"] > 1.0
    licence = manifest.provenance["licence_of_training_data"]
    assert any(free in licence for free in FREE)
    assert "NC" not in licence


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bundle_answers_here_as_where_it_was_made(name):
    report = check(PLACE / name)
    assert report.max_error <= report.tolerance
    assert report.form == "incremental"


@pytest.mark.parametrize("name", SHIPPED)
def test_silence_and_noise_are_no_keywords(name):
    noise = np.random.default_rng(0).normal(0, 0.05, 160_000).astype(np.float32)
    blocks = [np.zeros(160_000, np.float32), noise]
    assert not list(runtime.listen(PLACE / name, blocks=blocks, sample_rate=16_000, gate=False))
