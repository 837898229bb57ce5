"""Front ends: what their configs promise and refuse, and what training needs of them."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.models.frontend import FrontEnd
from train.models.frontend_config import PRESETS, FrontEndConfig, RunningNormConfig, preset


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(
    framing=st.sampled_from(["window", "fft", "centred"]),
    window=st.integers(16, 64),
    surplus=st.integers(0, 40),
    hop=st.integers(1, 50),
    num_samples=st.integers(110, 400),
    deltas=st.integers(0, 2),
)
def test_frames_are_as_many_and_as_wide_as_the_config_tells(
    framing, window, surplus, hop, num_samples, deltas
):
    fft_size = window + surplus
    config = FrontEndConfig(
        framing=framing,
        window_samples=window,
        fft_size=fft_size + fft_size % 2,
        hop_samples=hop,
        num_mels=3,
        num_deltas=deltas,
    )
    frames = FrontEnd(config)(noise(2, num_samples))
    assert frames.shape == (2, config.num_frames(num_samples), config.output_dim)


def test_a_config_goes_through_json():
    for config in (*PRESETS.values(), RunningNormConfig(prior_rms=0.1)):
        assert type(config)(**json.loads(json.dumps(config.to_json()))) == config


def test_an_unknown_preset_is_told_the_nearest():
    with pytest.raises(ValueError, match="no front end 'kaldi-mfc'; did you mean 'kaldi-mfcc'"):
        preset("kaldi-mfc")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop_samples": 0}, "hop_samples and num_mels 1 or more"),
        ({"fft_size": 256}, "at least window_samples 400, got 256"),
        ({"fft_size": 513}, "fft_size must be even"),
        ({"highest_hz": 8_001}, "highest_hz <= 8000 must hold"),
        ({"lowest_hz": 4_000, "highest_hz": 4_000}, "lowest_hz < highest_hz"),
        ({"preemphasis": 1.0}, r"preemphasis must lie in \[0, 1\)"),
        ({"floor": 0.0}, "floor must be positive"),
        ({"floor": float("nan")}, "finite"),
        ({"decibels": True, "spectrum": "magnitude"}, "set spectrum = 'power'"),
        ({"top_db": 80.0}, "goes with decibels = true"),
        ({"num_cepstra": 41}, r"num_cepstra must lie in \[0, num_mels = 40\], got 41"),
        ({"num_deltas": -1}, "num_deltas must be 0 or more"),
        ({"windows": "hann"}, "windows"),
    ],
)
def test_a_config_that_makes_no_front_end_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FrontEndConfig(**changes)


def test_mel_filters_between_the_bins_are_refused():
    config = FrontEndConfig(window_samples=32, fft_size=32, lowest_hz=510.0, highest_hz=990.0)
    with pytest.raises(ValueError, match=r"bins of 500 Hz all miss .* raise fft_size"):
        FrontEnd(config)


@pytest.mark.parametrize("changes", [{"memory_samples": 1}, {"prior_samples": 0}, {"eps": 0.0}])
def test_a_running_normalization_without_past_or_floor_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        RunningNormConfig(**changes)


@pytest.mark.parametrize("name", PRESETS)
def test_digital_silence_gives_finite_frames_and_gradients(name):
    waveform = torch.zeros(1, 2_000)
    waveform[:, 1_500:] = noise(1, 500)
    waveform.requires_grad_()
    frames = FrontEnd(preset(name))(waveform)
    frames.square().sum().backward()
    assert torch.isfinite(frames).all()
    assert torch.isfinite(waveform.grad).all()
    assert waveform.grad[:, 1_500:].abs().max() > 0


@pytest.mark.parametrize("name", PRESETS)
def test_a_row_does_not_depend_on_its_neighbours(name):
    quiet, loud = 0.001 * noise(1, 2_000).double(), noise(1, 2_000, seed=1).double()
    front_end = FrontEnd(preset(name), dtype=torch.float64)
    together = front_end(torch.cat([quiet, loud]))[0]
    torch.testing.assert_close(together, front_end(quiet)[0], rtol=0, atol=1e-9)


STREAMED = {
    "librosa without top_db": dataclasses.replace(preset("librosa-mfcc"), top_db=None),
    "window inside the FFT": dataclasses.replace(
        preset("librosa-logmel"), top_db=None, framing="fft"
    ),
    **{name: config for name, config in PRESETS.items() if config.frames_stand_alone},
}


def test_which_presets_a_stream_can_make_frame_by_frame():
    alone = {name for name, config in PRESETS.items() if config.frames_stand_alone}
    assert alone == {"kaldi-logmel", "tensorflow-logmel", "tensorflow-mfcc", "mlperf-tiny-mfcc"}


@pytest.mark.parametrize("config", STREAMED.values(), ids=STREAMED)
def test_frames_that_stand_alone_are_the_same_made_one_by_one(config):
    waveform = noise(1, 2_500).double()
    front_end = FrontEnd(config, dtype=torch.float64)
    together = front_end(waveform)
    starts = range(0, 2_500 - config.frame_samples + 1, config.hop_samples)
    singly = [front_end(waveform[:, start : start + config.frame_samples]) for start in starts]
    torch.testing.assert_close(torch.cat(singly, dim=1), together, rtol=0, atol=1e-9)


def test_bins_that_no_filter_looks_at_are_not_computed():
    config = dataclasses.replace(preset("mlperf-tiny-mfcc"), lowest_hz=1_000.0)
    # 1000 / 31.25 = 32 and 4000 / 31.25 = 128 are the outer corners, of weight zero
    mel = FrontEnd(config).mel
    assert int(mel.any(dim=1).sum()) == 95
    assert len(mel) < 1.2 * 95  # some residues have a bin fewer than others


def test_tables_are_no_part_of_a_checkpoint():
    assert not FrontEnd(preset("kaldi-mfcc")).state_dict()
