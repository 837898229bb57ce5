"""A bundle to try elsewhere; what lies beside can be imported."""

import sys
from pathlib import Path

import pytest
import torch

from export.bundle import export_keywords
from runtime.manifest import Decision, Streaming
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.tasks.keywords import KeywordModel

sys.path.insert(0, str(Path(__file__).parent))

LABELS = ("_silence_", "no", "yes")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as `compress export` writes it, random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = DsCnn(DsCnnConfig(num_mels=12, channels=6, num_blocks=1))
        model = KeywordModel(body, LABELS).eval()
    path = tmp_path_factory.mktemp("bundle") / "tiny"
    export_keywords(
        model,
        path,
        name="tiny",
        labels=LABELS,
        streaming=Streaming(window_samples=4_000, hop_samples=1_600),
        decision=Decision(keywords=("no", "yes"), threshold=0.9),
        provenance={},
        measured={},
    )
    return path
