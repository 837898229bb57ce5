"""Running normalization: its equation, and stream = offline."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.models.frontend_config import RunningNormConfig
from train.models.running_norm import RunningNorm

CONFIG = RunningNormConfig(memory_samples=500, prior_samples=20)


def sound(num_samples, *, batch=2, seed=0):
    """Noise whose loudness and offset change: float64."""
    rng = np.random.default_rng(seed)
    loudness = rng.uniform(0.0, 0.3, (batch, 1)) * (1 + np.sin(np.arange(num_samples) / 700))
    return torch.from_numpy(loudness * rng.normal(0, 1, (batch, num_samples)) + 0.02)


def streamed(norm, waveform, cuts):
    """In pieces that end at the cuts, the state carried on."""
    state, pieces = None, []
    for piece in waveform.tensor_split(cuts, dim=1):
        normalized, state = norm(piece, state)
        pieces.append(normalized)
    return torch.cat(pieces, dim=1), state


@pytest.mark.parametrize("config", [CONFIG, RunningNormConfig(memory_samples=2, prior_samples=1)])
def test_the_whole_equals_the_recursion_sample_by_sample(config):
    waveform = sound(3_000)
    decay = 1 - 1 / config.memory_samples
    weight, total = float(config.prior_samples), np.zeros(2)
    squares = np.full(2, config.prior_samples * config.prior_rms**2)
    expected = np.empty((2, 3_000))
    for place, sample in enumerate(waveform.numpy().T):
        weight = decay * weight + 1
        total = decay * total + sample
        squares = decay * squares + sample**2
        mean = total / weight
        expected[:, place] = (sample - mean) / np.sqrt(squares / weight - mean**2 + config.eps)
    normalized, state = RunningNorm(config)(waveform)
    assert np.abs(normalized.numpy() - expected).max() < 1e-9
    assert np.abs(state.numpy() - np.stack([[weight] * 2, total, squares], axis=1)).max() < 1e-8


@settings(max_examples=40, deadline=None)
@given(
    num_samples=st.integers(1, 1_500),
    cuts=st.lists(st.integers(1, 1_499), max_size=12, unique=True),
    seed=st.integers(0, 99),
)
def test_any_cuts_give_what_the_whole_gives(num_samples, cuts, seed):
    waveform = sound(num_samples, seed=seed)
    norm = RunningNorm(CONFIG)
    whole, end = norm(waveform)
    inside = sorted(cut for cut in cuts if cut < num_samples)
    pieces, state = streamed(norm, waveform, inside)
    assert (pieces - whole).abs().max() < 1e-9
    assert (state - end).abs().max() < 1e-8


def test_float32_streams_agree_in_every_step_from_10_ms_on():
    # Each step rounds the state once, so error grows with steps a memory: 410 of them here.
    norm = RunningNorm(RunningNormConfig())
    waveform = sound(160_000, batch=1).float()
    whole, _ = norm(waveform)
    largest = whole.abs().max()
    for step in (160, 321, 1_280):
        pieces, _ = streamed(norm, waveform, list(range(step, 160_000, step)))
        assert (pieces - whole).abs().max() < 1e-5 * largest


def test_what_follows_and_who_is_beside_change_nothing():
    norm = RunningNorm(CONFIG)
    waveform = sound(1_000)
    longer = torch.cat([waveform, torch.zeros(2, 333)], dim=1)
    assert (norm(longer)[0][:, :1_000] - norm(waveform)[0]).abs().max() < 1e-9
    assert (norm(waveform[1:])[0] - norm(waveform)[0][1:]).abs().max() < 1e-9


def test_steady_noise_of_any_loudness_and_offset_becomes_standard():
    rng = np.random.default_rng(0)
    norm = RunningNorm(RunningNormConfig(memory_samples=4_096, prior_samples=100))
    for rms, offset in ((0.02, 0.0), (0.5, 0.3)):
        waveform = torch.from_numpy(rng.normal(offset, rms, (1, 40_000)))
        heard = norm(waveform)[0][:, 20_000:]
        expected = rms / np.sqrt(rms**2 + 1e-5)
        assert abs(heard.mean()) < 0.05
        assert abs(heard.std() - expected) < 0.05


def test_the_first_samples_are_not_blown_up_and_silence_stays_silent():
    norm = RunningNorm(RunningNormConfig())
    faint = 1e-4 * sound(1_600, batch=1)
    assert norm(faint)[0].abs().max() < 0.01
    silence, _ = norm(torch.zeros(1, 400_000))
    assert torch.equal(silence, torch.zeros(1, 400_000))
