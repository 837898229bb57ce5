"""Our log-mel and MFCC against kaldi-native-fbank."""

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch

from train.models.frontend import LogMel, Mfcc


def kaldi(waveform: np.ndarray, computer: object) -> np.ndarray:
    computer.accept_waveform(16_000, waveform.tolist())  # type: ignore[attr-defined]
    computer.input_finished()  # type: ignore[attr-defined]
    frames = computer.num_frames_ready  # type: ignore[attr-defined]
    return np.stack([computer.get_frame(index) for index in range(frames)])  # type: ignore[attr-defined]


def options(kind: type, num_mels: int) -> object:
    chosen = kind()
    chosen.frame_opts.dither = 0.0
    chosen.mel_opts.num_bins = num_mels
    chosen.mel_opts.low_freq = 20.0
    chosen.mel_opts.high_freq = 0.0
    return chosen


@pytest.mark.parametrize("num_samples", [400, 16_000, 16_159])
@pytest.mark.parametrize("num_mels", [23, 40])
def test_log_mel_equals_kaldi(num_samples: int, num_mels: int) -> None:
    waveform = np.random.default_rng(0).normal(0.01, 0.1, num_samples).astype(np.float32)
    expected = kaldi(waveform, knf.OnlineFbank(options(knf.FbankOptions, num_mels)))
    actual = LogMel(num_mels)(torch.from_numpy(waveform).unsqueeze(0))[0].numpy()
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < 1e-4  # a 512-point FFT against a float32 matrix


def test_cepstra_equal_kaldi_and_deltas_their_formula() -> None:
    waveform = np.random.default_rng(1).normal(0.0, 0.1, 16_000).astype(np.float32)
    chosen = options(knf.MfccOptions, 23)
    chosen.num_ceps = 13  # type: ignore[attr-defined]
    chosen.use_energy = False  # type: ignore[attr-defined]
    expected = kaldi(waveform, knf.OnlineMfcc(chosen))
    actual = Mfcc()(torch.from_numpy(waveform).unsqueeze(0))[0].numpy()
    assert actual.shape == (98, 39)
    # liftered cepstra reach 50, so this is a few parts in a million
    assert np.abs(actual[:, :13] - expected).max() < 3e-4
    padded = np.pad(actual[:, :13], ((2, 2), (0, 0)), mode="edge")
    slope = sum(lag * padded[2 + lag : 100 + lag] for lag in (-2, -1, 1, 2)) / 10.0
    assert np.abs(actual[:, 13:26] - slope).max() < 1e-4
