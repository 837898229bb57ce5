"""Log-mel and MFCC as graph operations: one strided convolution, squares, a matrix, a log.

Kaldi's DC removal, pre-emphasis and window are linear, so they fold into the convolution's
kernel: the module that trains is the module that exports, and an app feeds plain PCM.
Source: Kaldi's feature definitions (25 ms Povey window, 10 ms hop, snip_edges, no dither).
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
_FFT_SIZE = 512
_PREEMPHASIS = 0.97
_LOWEST_HZ = 20.0
_FLOOR = float(np.finfo(np.float32).eps)


class LogMel(nn.Module):
    """Kaldi's log-mel filter bank of a waveform at 16 kHz."""

    def __init__(self, num_mels: int = 40) -> None:
        super().__init__()
        kernel = torch.from_numpy(_spectrum_kernel()).float()
        self.register_buffer("kernel", kernel.unsqueeze(1), persistent=False)
        mel = torch.from_numpy(_mel_filters(num_mels)).float()
        self.register_buffer("mel", mel, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) in [-1, 1] to (batch, frames at 100 Hz, num_mels), natural log."""
        spectrum = functional.conv1d(waveform.unsqueeze(1), self.kernel, stride=HOP_SAMPLES)  # type: ignore[arg-type]
        real, imaginary = spectrum.square().chunk(2, dim=1)
        energies = (real + imaginary).transpose(1, 2) @ self.mel  # type: ignore[operator]
        return energies.clamp_min(_FLOOR).log()


class Mfcc(nn.Module):
    """Kaldi's MFCC, with first and second differences: HuBERT's first targets.

    13 cepstra from 23 mels (lifter 22, no energy) and two delta orders: 39 numbers a frame.
    """

    def __init__(self, num_mels: int = 23, num_cepstra: int = 13) -> None:
        super().__init__()
        self.log_mel = LogMel(num_mels)
        cosines = torch.from_numpy(_cepstrum_matrix(num_mels, num_cepstra)).float()
        self.register_buffer("cosines", cosines, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) in [-1, 1] to (batch, frames at 100 Hz, 39)."""
        cepstra = self.log_mel(waveform) @ self.cosines
        first = _delta(cepstra)
        return torch.cat([cepstra, first, _delta(first)], dim=-1)


def _delta(features: Tensor) -> Tensor:
    """Slope over five frames by least squares, edges repeated: (batch, frames, dim)."""
    padded = functional.pad(features.transpose(1, 2), (2, 2), mode="replicate").transpose(1, 2)
    far = padded[:, 4:] - padded[:, :-4]
    near = padded[:, 3:-1] - padded[:, 1:-3]
    return (2 * far + near) / 10.0


def _spectrum_kernel() -> NDArray[np.float64]:
    """(2 * bins, window): window · pre-emphasis · DC removal, then cosines and sines."""
    index = np.arange(WINDOW_SAMPLES)
    remove_mean = np.eye(WINDOW_SAMPLES) - 1.0 / WINDOW_SAMPLES
    emphasize = np.eye(WINDOW_SAMPLES) - _PREEMPHASIS * np.eye(WINDOW_SAMPLES, k=-1)
    emphasize[0, 0] = 1.0 - _PREEMPHASIS  # Kaldi repeats the first sample before the frame
    povey = (0.5 - 0.5 * np.cos(2 * math.pi * index / (WINDOW_SAMPLES - 1))) ** 0.85
    frame = povey[:, None] * (emphasize @ remove_mean)
    # The Nyquist bin is left out: Kaldi's mel filters end below it.
    phase = 2 * math.pi * np.outer(np.arange(_FFT_SIZE // 2), index) / _FFT_SIZE
    kernel: NDArray[np.float64] = np.concatenate([np.cos(phase), -np.sin(phase)]) @ frame
    return kernel


def _mel_filters(num_mels: int) -> NDArray[np.float64]:
    """(bins, num_mels): triangles of equal width on the mel scale, 20 Hz to Nyquist."""

    def mel(hz: Any) -> Any:
        return 1127.0 * np.log1p(hz / 700.0)

    edges = np.linspace(mel(_LOWEST_HZ), mel(SAMPLE_RATE / 2), num_mels + 2)
    bins = mel(np.arange(_FFT_SIZE // 2) * (SAMPLE_RATE / _FFT_SIZE))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return filters


def _cepstrum_matrix(num_mels: int, num_cepstra: int) -> NDArray[np.float64]:
    """(num_mels, num_cepstra): orthonormal DCT-II, liftered with L = 22."""
    order = np.arange(num_cepstra)
    dct = np.cos(math.pi / num_mels * np.outer(np.arange(num_mels) + 0.5, order))
    dct *= np.where(order == 0, math.sqrt(1 / num_mels), math.sqrt(2 / num_mels))
    lifter = 1.0 + 11.0 * np.sin(math.pi * order / 22.0)
    result: NDArray[np.float64] = dct * lifter
    return result
