"""Every flavour of log-mel and MFCC against kaldi-native-fbank, librosa or its equations."""

import dataclasses
import math

import kaldi_native_fbank as knf
import librosa
import numpy as np
import pytest
import torch

from train.models.frontend import FrontEnd, LogMel, Mfcc
from train.models.frontend_config import FrontEndConfig, preset


def voice(num_samples: int = 16_000, seed: int = 0) -> np.ndarray:
    """Harmonics that swell and fade, noise 40 dB below: float64 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(num_samples) / 16_000
    pitch = 2 * np.pi * (120 * seconds + 15 * np.sin(4 * seconds))
    buzz = sum(np.sin(number * pitch) / number for number in range(1, 40))
    return 0.2 * buzz * np.sin(3 * seconds) ** 2 + rng.normal(0, 0.002, num_samples)


def features(config: FrontEndConfig, waveform: np.ndarray) -> np.ndarray:
    """Of one waveform, in the precision that it comes in."""
    batch = torch.from_numpy(waveform).unsqueeze(0)
    return FrontEnd(config, dtype=batch.dtype)(batch)[0].numpy()


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


def test_log_mel_of_a_voice_equals_kaldi() -> None:
    waveform = voice().astype(np.float32)
    expected = kaldi(waveform, knf.OnlineFbank(options(knf.FbankOptions, 40)))
    assert np.abs(features(preset("kaldi-logmel"), waveform) - expected).max() < 1e-4


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


def by_librosa(config: FrontEndConfig, waveform: np.ndarray) -> np.ndarray:
    settings = {
        "sr": 16_000,
        "n_fft": config.fft_size,
        "win_length": config.window_samples,
        "hop_length": config.hop_samples,
        "center": config.framing == "centred",
        "n_mels": config.num_mels,
        "fmin": config.lowest_hz,
        "fmax": config.highest_hz,
        "htk": config.mel_scale == "htk",
        "norm": "slaney" if config.equal_area else None,
        "dtype": waveform.dtype,  # of the mel filters
    }
    mels = librosa.feature.melspectrogram(y=waveform, **settings)
    decibels = librosa.power_to_db(mels, top_db=config.top_db)
    if not config.num_cepstra:
        return decibels.T
    return librosa.feature.mfcc(S=decibels, n_mfcc=config.num_cepstra).T


LIBROSA = {
    "librosa-logmel": preset("librosa-logmel"),
    "librosa-mfcc": preset("librosa-mfcc"),
    "window inside the FFT": dataclasses.replace(preset("librosa-logmel"), framing="fft"),
    "odd window": dataclasses.replace(preset("librosa-logmel"), window_samples=401, framing="fft"),
    "odd and centred": dataclasses.replace(preset("librosa-logmel"), window_samples=401),
    "HTK mels": dataclasses.replace(
        preset("librosa-mfcc"), mel_scale="htk", equal_area=False, top_db=None
    ),
}


@pytest.mark.parametrize("config", LIBROSA.values(), ids=LIBROSA)
def test_features_equal_librosas(config: FrontEndConfig) -> None:
    for waveform in (voice(), voice(15_999, seed=1), np.zeros(4_000)):
        expected = by_librosa(config, waveform)
        exact = features(config, waveform)
        assert exact.shape == expected.shape
        assert len(exact) == config.num_frames(len(waveform))
        assert np.abs(exact - expected).max() < 1e-9
        single = waveform.astype(np.float32)
        difference = np.abs(features(config, single) - by_librosa(config, single)).max()
        # Cepstra sum 80 decibels each and reach -900, where neighbouring float32 numbers lie
        # 6e-5 apart: an absolute 1e-4 would ask for the last digit, so they get a share.
        assert difference < (1e-6 * np.abs(expected).max() if config.num_cepstra else 1e-4)


def by_equations(
    waveform: np.ndarray, *, hop: int, mels: int, highest_hz: float, log: object, cepstra: int
) -> np.ndarray:
    """tf.signal's stft (480 samples in 512 points), mel matrix and MFCC, as documented."""
    rows = []
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * place / 480) for place in range(480)]
    corners = [
        700 * (math.exp(mel / 1127) - 1)
        for mel in np.linspace(
            1127 * math.log(1 + 20 / 700), 1127 * math.log(1 + highest_hz / 700), mels + 2
        )
    ]
    weights = np.zeros((257, mels))
    for point in range(1, 257):  # the bin of 0 Hz counts for nothing
        mel = 1127 * math.log(1 + point * 31.25 / 700)
        for band in range(mels):
            low, middle, high = (1127 * math.log(1 + hz / 700) for hz in corners[band : band + 3])
            if low < mel <= middle:
                weights[point, band] = (mel - low) / (middle - low)
            elif middle < mel < high:
                weights[point, band] = (high - mel) / (high - middle)
    for start in range(0, len(waveform) - 480 + 1, hop):
        magnitudes = np.abs(np.fft.rfft(waveform[start : start + 480] * hann, 512))
        logs = log(magnitudes @ weights)  # type: ignore[operator]
        if cepstra:
            # 2 Σ x cos(...), over √(2 · mels), the zeroth like the others
            logs = [
                2 * sum(
                    value * math.cos(math.pi * order * (2 * band + 1) / (2 * mels))
                    for band, value in enumerate(logs)
                ) / math.sqrt(2 * mels)
                for order in range(cepstra)
            ]  # fmt: skip
        rows.append(logs)
    return np.array(rows)


ARM = {"hop": 160, "mels": 80, "highest_hz": 7_600, "log": lambda x: np.log(np.maximum(x, 1e-12))}
MLPERF = {"hop": 320, "mels": 40, "highest_hz": 4_000, "log": lambda x: np.log(x + 1e-6)}


@pytest.mark.parametrize(
    ("name", "how", "shape"),
    [
        ("tensorflow-logmel", ARM | {"cepstra": 0}, (98, 80)),
        ("tensorflow-mfcc", ARM | {"cepstra": 40}, (98, 40)),
        ("mlperf-tiny-mfcc", MLPERF | {"cepstra": 10}, (49, 10)),
    ],
)
def test_tensorflows_flavours_equal_their_equations(name, how, shape) -> None:
    for waveform in (voice(), np.concatenate([np.zeros(2_000), voice(3_001, seed=1)])):
        expected = by_equations(waveform, **how)
        if len(waveform) == 16_000:
            assert expected.shape == shape
        assert np.abs(features(preset(name), waveform) - expected).max() < 1e-9
        single = features(preset(name), waveform.astype(np.float32))
        # at silence a zeroth coefficient is -350, to float32 within 3e-5
        np.testing.assert_allclose(single, expected, rtol=1e-6, atol=1e-4)
