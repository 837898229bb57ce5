"""Recordings as numbers: decoded once, kept as one file of 16-bit samples, read by memory map."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray

from runtime.atomic import replacing_folder
from runtime.faults import AudioFault
from runtime.wav import read_wav

from ..errors import DataError
from ..progress import track
from .cuts import SAMPLE_RATE, not_audio, reason_of

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut

Waveform = NDArray[np.float32]

_FORMAT = 1
"""Raised when `decode` changes what it gives, so that older caches are left alone."""
_FULL_SCALE = 32768
_NUM_THREADS = 4
_GROUP = 64
"""Recordings decoded between two writes; bounds the memory."""
_SHORT_S, _SHORT_RATIO = 0.1, 0.01
"""A recording may be this much shorter than stated: durations are rounded, codecs pad."""
_SAMPLES = "samples.i16"
_INDEX = "index.json"


def decode(path: Path, sample_rate: int = SAMPLE_RATE) -> Waveform:
    """Decode a recording to mono at `sample_rate`.

    Channels are averaged and other rates are resampled.

    Returns:
        (samples,) float32, in [-1, 1] but for what a codec or a filter adds at peaks.

    Raises:
        DataError: the file is missing, no audio, shorter than its header says, empty, or holds
            samples that are no finite numbers.
    """
    if path.suffix.lower() == ".wav":
        # Ours is stricter than libsndfile, which shortens a truncated recording in silence.
        try:
            waveform, rate = read_wav(path)
        except AudioFault as fault:
            raise DataError(
                f"{fault}; replace the recording or remove it from the corpus"
            ) from None
    else:
        try:
            channels, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as fault:
            raise DataError(not_audio(path, reason_of(fault))) from None
        waveform = channels.mean(axis=1, dtype=np.float32)
    if not np.isfinite(waveform).all():
        raise DataError(not_audio(path, "it holds samples that are no finite numbers"))
    if rate != sample_rate and len(waveform):
        import soxr

        waveform = soxr.resample(waveform, rate, sample_rate)
    if len(waveform) == 0:
        raise DataError(not_audio(path, "it holds no samples"))
    return np.ascontiguousarray(waveform, dtype=np.float32)


def to_int16(waveform: Waveform) -> NDArray[np.int16]:
    """Round to 16 bits and clip; samples that came from 16 bits come back exactly."""
    scaled = np.rint(waveform * np.float32(_FULL_SCALE))
    clipped: NDArray[np.int16] = np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    return clipped


def cache_folder() -> Path:
    """Where audio and published models lie: OTOLITE_CACHE, or otolite below the user's cache."""
    if own := os.environ.get("OTOLITE_CACHE"):
        return Path(own)
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "otolite"


@dataclass(frozen=True)
class PackedAudio:
    """The audio of a set of cuts at 16 kHz, on disk; a waveform is read when it is asked for.

    It holds the memory map and the index, no waveform: the operating system keeps the pages that
    are in use. `of` makes it.
    """

    samples: NDArray[np.int16]
    """(total samples,), the memory map."""
    spans: Mapping[str, tuple[int, int]]
    """For each cut id, its first sample in `samples` and the one past its last."""

    @classmethod
    def of(cls, cuts: CutSet, *, progress: bool) -> PackedAudio:
        """Decode what the cuts need, or take it from the cache when it is there.

        The cache is keyed by path, size and time of change of every recording; a cache that is
        not whole is made again.

        Args:
            cuts: whole recordings or windows of them.
            progress: show a bar on standard error while decoding.

        Raises:
            DataError: a recording cannot be decoded, or the cache folder cannot be written; then
                nothing is left behind. Or a recording is shorter than stated, which is how a
                truncated Opus or MP3 shows.
        """
        paths = sorted({str(cut.recording.sources[0].source) for cut in cuts})
        folder = cache_folder() / f"audio-{_digest(paths)}"
        offsets = _read_index(folder)
        if offsets is None:
            try:
                with replacing_folder(folder) as temporary:
                    _pack(paths, temporary, progress=progress)
            except OSError as fault:
                raise DataError(
                    f"decoded audio cannot be kept in {folder.parent} ({fault.strerror}); make "
                    "room there, or set OTOLITE_CACHE to a folder on another disk"
                ) from None
            offsets = _read_index(folder)
            assert offsets is not None
        samples = np.memmap(folder / _SAMPLES, dtype="<i2", mode="r")
        places = {path: (offsets[i], offsets[i + 1]) for i, path in enumerate(paths)}
        return cls(samples, {cut.id: _span(cut, places) for cut in cuts})

    def num_samples(self, cut_id: str) -> int:
        """Samples of a cut at 16 kHz, counted after decoding; KeyError for an id not packed."""
        start, end = self.spans[cut_id]
        return end - start

    def waveform(self, cut_id: str, start: int = 0, num_samples: int | None = None) -> Waveform:
        """Read a cut, or a part of it.

        Args:
            cut_id: one of the packed cuts; KeyError for another.
            start: first sample of the part, counted from the cut's own.
            num_samples: length of the part; None: to the end. What reaches past it is left out.

        Returns:
            (samples,) float32 in [-1, 1), a copy.
        """
        first, end = self.spans[cut_id]
        begin = min(first + start, end)
        if num_samples is not None:
            end = min(begin + num_samples, end)
        return self.samples[begin:end].astype(np.float32) / np.float32(_FULL_SCALE)


def _digest(paths: Sequence[str]) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {SAMPLE_RATE}\n".encode())
    for path in paths:
        try:
            state = os.stat(path)
        except OSError as fault:
            raise DataError(not_audio(Path(path), fault.strerror or "it is gone")) from None
        digest.update(f"{os.path.abspath(path)}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _read_index(folder: Path) -> list[int] | None:
    """Where each recording starts, and the end of the last; None where the cache is not whole."""
    try:
        offsets = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["offsets"]
        size_bytes = (folder / _SAMPLES).stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(offsets, list) or not offsets or size_bytes != 2 * offsets[-1]:
        return None
    return [int(offset) for offset in offsets]


def _pack(paths: Sequence[str], folder: Path, *, progress: bool) -> None:
    offsets = [0]
    with (folder / _SAMPLES).open("wb") as samples:
        for waveform in _decoded(paths, progress=progress):
            samples.write(to_int16(waveform).astype("<i2").tobytes())
            offsets.append(offsets[-1] + len(waveform))
    index = {"format": _FORMAT, "sample_rate": SAMPLE_RATE, "offsets": offsets}
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def _decoded(paths: Sequence[str], *, progress: bool) -> Iterator[Waveform]:
    """Decode in the given order; libsndfile runs without the interpreter's lock."""
    groups = [paths[begin : begin + _GROUP] for begin in range(0, len(paths), _GROUP)]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for group in track(groups, "decoding") if progress else groups:
            yield from pool.map(decode, map(Path, group))


def _span(cut: MonoCut, places: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Where a cut lies in the packed samples; a window is clipped to its recording's real end."""
    path = str(cut.recording.sources[0].source)
    first, end = places[path]
    stated_s, decoded_s = cut.recording.duration, (end - first) / SAMPLE_RATE
    if decoded_s < stated_s - max(_SHORT_S, _SHORT_RATIO * stated_s):
        raise DataError(
            f"{path} holds {decoded_s:.3f} s where its manifest or header states {stated_s:.3f} s: "
            "it is truncated or misdescribed; replace it, or correct the duration"
        )
    if cut.start == 0.0 and cut.duration == stated_s:
        return first, end  # the manifest's duration is rounded, the samples are not
    begin = min(first + round(cut.start * SAMPLE_RATE), end)
    return begin, min(begin + round(cut.duration * SAMPLE_RATE), end)
