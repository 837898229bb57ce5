"""Sizes that train in a second; and what lies beside can be imported."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train.data.batches import Batch
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Wav2Vec2Config, paper_conv_layers

sys.path.insert(0, str(Path(__file__).parent))


def _config(**changes: Any) -> Wav2Vec2Config:
    sizes: dict[str, Any] = {
        "conv_layers": paper_conv_layers(8),
        "conv_norm": "layer",
        "normalize_waveform": True,
        "embed_dim": 16,
        "num_heads": (2, 2),
        "ffn_dim": (24, 24),
        "head_dim": 8,
        "pos_conv_kernel": 6,
        "pos_conv_groups": 4,
        "layerdrop": 0.3,
        "feature_grad_mult": 0.5,
    }
    return Wav2Vec2Config(**(sizes | changes))


@pytest.fixture(scope="session")
def encoder_config() -> Callable[..., Wav2Vec2Config]:
    """A tiny encoder's config; every source of randomness is on."""
    return _config


@pytest.fixture(scope="session")
def make_encoder() -> Callable[..., Wav2Vec2Encoder]:
    """A tiny encoder in eval mode, norms and biases away from ones and zeros."""

    def make(*, seed: int = 0, **changes: Any) -> Wav2Vec2Encoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = Wav2Vec2Encoder(_config(**changes))
            with torch.no_grad():
                for name, parameter in encoder.named_parameters():
                    if name.endswith("bias"):
                        parameter.normal_(std=0.3)
                    elif "norm" in name:
                        parameter.uniform_(0.5, 1.5)
        return encoder.eval()

    return make


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Batch]:
    """Noise of these lengths as a batch; labels and starts when a test needs them."""

    def make(lengths: list[int], *, seed: int = 0, **changes: Any) -> Batch:
        rng = np.random.default_rng(seed)
        waveform = torch.zeros(len(lengths), max(lengths))
        for row, length in enumerate(lengths):
            waveform[row, :length] = torch.from_numpy(rng.normal(0, 0.1, length)).float()
        values: dict[str, Any] = {
            "cut_ids": [f"cut{row}" for row in range(len(lengths))],
            "waveform": waveform,
            "lengths": torch.tensor(lengths),
            "num_samples": lengths,
            "starts": [0] * len(lengths),
            "labels": [""] * len(lengths),
            "rows": list(range(len(lengths))),
            "step": 0,
        }
        return Batch(**(values | changes))

    return make
