"""Log-mel and MFCC as graph operations: a DFT in two products, squares, a matrix, a log, a DCT.

All of it is products, sums and copies, which every format has: the module that trains is the
module that exports, and an app feeds plain PCM.
Sources: Kaldi's feature definitions; librosa 0.11's `feature` and `filters`; `tf.signal`, as ARM's
Keyword Transformer (google-research's kws_streaming) and MLPerf Tiny use it.
"""

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .fourier import cheapest
from .frontend_config import HOP_SAMPLES as HOP_SAMPLES
from .frontend_config import SAMPLE_RATE as SAMPLE_RATE
from .frontend_config import WINDOW_SAMPLES as WINDOW_SAMPLES
from .frontend_config import FrontEndConfig, preset

_FEW_FRAMES = 16
"""Up to these many of a step, rows are picked by their places, two operations for ten; more are
copied faster hop by hop."""
_LEAST_POWER = 1e-36
"""Keeps a root's slope finite at digital silence; its root is far below every floor."""


class FrontEnd(nn.Module):
    """A spectrogram or its cepstra, in any flavour that a config describes."""

    window: Tensor
    rows: Tensor
    places: Tensor
    mel: Tensor
    cosines: Tensor

    def __init__(
        self,
        config: FrontEndConfig,
        *,
        for_steps: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make the tables.

        Args:
            config: what to compute.
            for_steps: prefer few operations where a waveform holds few frames, as a stream's steps
                do; graphs of windows share no places with graphs of other lengths.
            dtype: of tables and waveform; None: torch's default.

        Raises:
            ValueError: no bin of the spectrum lies under any mel filter.
        """
        super().__init__()
        self.config, self._for_steps = config, for_steps
        dtype = dtype or torch.get_default_dtype()
        filters = _mel_filters(config)
        bins = np.flatnonzero(filters.any(axis=1))  # the others are not even computed
        if not bins.size:
            raise ValueError(
                f"bins of {SAMPLE_RATE / config.fft_size:g} Hz all miss the mel filters, which lie "
                f"between {config.lowest_hz:g} and {config.highest_hz:g} Hz; raise fft_size"
            )
        split = cheapest(config.fft_size, config.window_samples, bins)
        self._stride, self._num_residues = split.stride, len(split.residues)
        self._surplus = split.num_rows * split.stride - config.window_samples
        window = np.pad(_window(config), (0, self._surplus)).reshape(-1, split.stride).T
        rows, places = split.tables()
        mel = np.where(split.bins[:, None] < 0, 0.0, filters[split.bins])
        tables = {"window": window, "rows": rows, "places": places, "mel": mel}
        for name, table in {**tables, "cosines": _cepstrum_matrix(config)}.items():
            tensor = torch.from_numpy(np.ascontiguousarray(table)).to(dtype)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) in [-1, 1] to (batch, frames, output_dim).

        At least the samples of one frame; `config.num_frames` tells how many frames they give.
        """
        config = self.config
        frames = self._frames(_with_margins(waveform, *config.margins))
        if config.remove_mean:
            frames = frames - frames.mean(dim=2, keepdim=True)
        if config.preemphasis:
            # What lies before a frame's first sample does not matter: all windows begin at zero.
            frames = frames - config.preemphasis * functional.pad(frames, (1, -1))
        energies = self._powers(frames)
        if config.spectrum == "magnitude":
            energies = energies.clamp_min(_LEAST_POWER).sqrt()
        features = self._log(energies @ self.mel)
        if config.num_cepstra:
            features = features @ self.cosines
        orders = [features]
        for _ in range(config.num_deltas):
            orders.append(_delta(orders[-1]))
        return torch.cat(orders, dim=-1) if config.num_deltas else features

    def _frames(self, waveform: Tensor) -> Tensor:
        """(batch, samples) to (batch, frames, window_samples)."""
        window_samples, hop_samples = self.config.window_samples, self.config.hop_samples
        sizes = (waveform.shape[1], window_samples, hop_samples)
        # A graph for any length has no number of samples.
        whole = isinstance(sizes[0], int) and not any(size % self._stride for size in sizes)
        if self._for_steps and whole:
            num_rows, window_rows, hop_rows = (size // self._stride for size in sizes)
            starts = range(0, num_rows - window_rows + 1, hop_rows)
            if len(starts) <= _FEW_FRAMES:
                places = [start + row for start in starts for row in range(window_rows)]
                index = torch.tensor(places, device=waveform.device)
                rows = waveform.reshape(-1, num_rows, self._stride)
                frames = rows.index_select(1, index)
                return frames.reshape(-1, len(starts), window_samples)
        return _frames(waveform, window_samples, hop_samples)

    def _powers(self, frames: Tensor) -> Tensor:
        """(batch, frames, window_samples) to (batch, frames, bins), in the order of `mel`."""
        if self._surplus:
            frames = functional.pad(frames, (0, self._surplus))
        # (batch, frames, places, rows): a row's place is transformed apart from the others
        split = frames.unflatten(2, (-1, self._stride)).transpose(2, 3) * self.window
        parts = (split @ self.rows).unflatten(3, (self._num_residues, 2))
        parts = parts.permute(0, 3, 1, 2, 4).flatten(3)  # (batch, residues, frames, 2 * places)
        spectrum = parts @ self.places
        # A product, as engines raise to a power with more care.
        spectrum = spectrum * spectrum
        real, imaginary = spectrum.chunk(2, dim=3)
        powers: Tensor = (real + imaginary).transpose(1, 2).flatten(2)
        return powers

    def _log(self, energies: Tensor) -> Tensor:
        config = self.config
        if config.floor_added:
            logs = (energies + config.floor).log()
        else:
            logs = energies.clamp_min(config.floor).log()
        if config.decibels:
            logs = logs * (10.0 / math.log(10.0))
        if config.top_db is not None:
            # librosa takes the largest of all rows; here no row depends on its neighbours.
            logs = torch.maximum(logs, logs.amax(dim=(1, 2), keepdim=True) - config.top_db)
        return logs


class LogMel(FrontEnd):
    """Kaldi's log-mel filter bank, natural log, 100 frames a second."""

    def __init__(self, num_mels: int = 40) -> None:
        super().__init__(dataclasses.replace(preset("kaldi-logmel"), num_mels=num_mels))


class Mfcc(FrontEnd):
    """HuBERT's first targets: Kaldi's MFCC, first and second differences, 39 numbers a frame."""

    def __init__(self) -> None:
        super().__init__(preset("kaldi-mfcc"))


def _with_margins(waveform: Tensor, before: int, after: int) -> Tensor:
    """Add zeros (of any count) or leave samples out (negative) at both ends."""
    if before > 0 or after > 0:
        return functional.pad(waveform, (before, after))
    if before or after:
        return waveform[:, -before : after or None]
    return waveform


def _frames(waveform: Tensor, window_samples: int, hop_samples: int) -> Tensor:
    """(batch, samples) to windows, (batch, frames, window_samples), one after each hop.

    A product of them with a matrix is a strided convolution. For the few frames of a step engines
    take half the time over the product, and its result needs no transposing.
    """
    later = (window_samples - 1) // hop_samples  # hops that a window reaches into, past its first
    rest = window_samples - later * hop_samples  # samples of the last of them, 1 to a hop
    padded = functional.pad(waveform, (0, hop_samples - rest))
    num_hops = padded.shape[1] // hop_samples
    hops = padded[:, : num_hops * hop_samples].unflatten(1, (num_hops, hop_samples))
    parts = [hops[:, part : num_hops - later + part] for part in range(later)]
    return torch.cat([*parts, hops[:, later:, :rest]], dim=2)


def _delta(features: Tensor) -> Tensor:
    """Slope over five frames by least squares, edges repeated: (batch, frames, dim)."""
    padded = functional.pad(features.transpose(1, 2), (2, 2), mode="replicate").transpose(1, 2)
    far = padded[:, 4:] - padded[:, :-4]
    near = padded[:, 3:-1] - padded[:, 1:-3]
    return (2 * far + near) / 10.0


def _window(config: FrontEndConfig) -> NDArray[np.float64]:
    """(window_samples,), of which the first is 0.

    Where in the FFT's frame the window lies turns phases alone, which the squares drop.
    """
    index = np.arange(config.window_samples)
    if config.window == "povey":
        hann = 0.5 - 0.5 * np.cos(2 * math.pi * index / (config.window_samples - 1))
        return np.asarray(hann**0.85)
    return np.asarray(0.5 - 0.5 * np.cos(2 * math.pi * index / config.window_samples))


def _mel_filters(config: FrontEndConfig) -> NDArray[np.float64]:
    """(fft_size / 2 + 1, num_mels): triangles whose corners are equally spaced in mels."""
    to_mel, to_hz = (_htk, _htk_hz) if config.mel_scale == "htk" else (_slaney, _slaney_hz)
    lowest, highest = to_mel(np.array([config.lowest_hz, config.highest_hz]))
    edges: NDArray[np.float64] = np.linspace(lowest, highest, config.num_mels + 2)
    edges_hz = to_hz(edges)
    bins: NDArray[np.float64] = np.arange(config.fft_size // 2 + 1.0)
    bins *= SAMPLE_RATE / config.fft_size
    if config.triangles == "mel":
        bins = to_mel(bins)
    else:
        edges = edges_hz
    bins = bins[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    if config.equal_area:
        filters *= 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return filters


def _htk(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(hz / 700.0)


def _htk_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return 700.0 * np.expm1(mel / 1127.0)


_SLANEY_KNEE_HZ, _SLANEY_HZ_PER_MEL = 1000.0, 200.0 / 3
_SLANEY_KNEE_MEL = _SLANEY_KNEE_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_LOG_STEP = math.log(6.4) / 27.0
"""27 mels from 1 to 6.4 kHz (Slaney's Auditory Toolbox)."""


def _slaney(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = np.log(np.maximum(hz, _SLANEY_KNEE_HZ) / _SLANEY_KNEE_HZ) / _SLANEY_LOG_STEP
    return np.minimum(hz, _SLANEY_KNEE_HZ) / _SLANEY_HZ_PER_MEL + above


def _slaney_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = np.exp(_SLANEY_LOG_STEP * np.maximum(mel - _SLANEY_KNEE_MEL, 0.0))
    return np.minimum(mel, _SLANEY_KNEE_MEL) * _SLANEY_HZ_PER_MEL * above


def _cepstrum_matrix(config: FrontEndConfig) -> NDArray[np.float64]:
    """(num_mels, num_cepstra): DCT-II, liftered."""
    num_mels = config.num_mels
    order = np.arange(config.num_cepstra)
    dct = np.cos(math.pi / num_mels * np.outer(np.arange(num_mels) + 0.5, order))
    dct *= math.sqrt(2 / num_mels)
    if config.dct == "orthonormal":
        dct[:, :1] *= math.sqrt(0.5)
    if config.lifter:
        dct *= 1.0 + config.lifter / 2 * np.sin(math.pi * order / config.lifter)
    return dct
