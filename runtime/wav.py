"""Read WAV recordings: a RIFF reader of our own, so that the device needs no audio library."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .faults import AudioFault
from .waveform import PEAK_LIMIT

MAX_FILE_BYTES = 1 << 30
"""Largest file, about 9 hours of 16-bit mono at 16 kHz: it is read into memory."""
MIN_RATE_HZ = 4000
MAX_RATE_HZ = 192_000

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_OTHER_FORMATS = {0x0002: "ADPCM", 0x0006: "A-law", 0x0007: "mu-law", 0x0011: "IMA ADPCM"}
# The last 14 bytes of an extensible format's GUID; its first two are one of the codes above.
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
# A writer into a pipe cannot go back to fill in the size: ffmpeg leaves this, others leave 0.
_UNKNOWN_SIZE = 0xFFFFFFFF
_BLOCK_FRAMES = 1 << 18
_CONVERT = "Convert it: ffmpeg -i IN -c:a pcm_s16le OUT.wav"


@dataclass(frozen=True)
class _Format:
    code: int
    num_channels: int
    rate_hz: int
    sample_bytes: int

    @property
    def frame_bytes(self) -> int:
        return self.num_channels * self.sample_bytes


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a whole recording and average its channels.

    PCM of 8, 16, 24 or 32 bits and float of 32 or 64 bits, plain or extensible, any number of
    channels. Chunks other than `fmt ` and `data` are passed over. A data size of 0xFFFFFFFF, or
    of 0 under a RIFF size of 0 or 0xFFFFFFFF, is what a pipe leaves behind: the data then lasts to
    the file's end, an incomplete last frame dropped. Any other size that the file does not hold is
    a truncated file. Float samples beyond [-1, 1] are clipped.

    Returns:
        float32 (samples,) in [-1, 1], and samples per second.

    Raises:
        AudioFault: absent or unreadable, not a WAV, compressed, truncated, empty, over 1 GiB, a
            rate outside 4-192 kHz, NaN or infinite samples, float samples beyond 8.
    """
    try:
        with Path(path).open("rb") as handle:
            data = _read_file(handle)
        return _decode(data)
    except AudioFault as fault:
        raise AudioFault(f"{path}: {fault}") from fault
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise AudioFault(f"{path}: cannot be read: {reason}") from error


def _read_file(handle: BinaryIO) -> memoryview:
    """The header first: a disk image or /dev/zero named .wav is refused before it is read."""
    header = handle.read(12)
    if not header:
        raise AudioFault("is empty, 0 bytes")
    if header[:4] in (b"RF64", b"RIFX", b"BW64"):
        raise AudioFault(f"is {header[:4].decode()}, not plain RIFF. {_CONVERT}")
    if len(header) < 12 or header[:4] != b"RIFF" or header[8:] != b"WAVE":
        raise AudioFault(f"is not a WAV file: it starts with {header[:12]!r}. {_CONVERT}")
    data = bytearray(header)
    while block := handle.read(1 << 20):
        data += block
        if len(data) > MAX_FILE_BYTES:
            raise AudioFault(f"is over {MAX_FILE_BYTES >> 20} MiB; split it into shorter files")
    return memoryview(data)


def _decode(data: memoryview) -> tuple[np.ndarray, int]:
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    form: _Format | None = None
    offset = 12
    while offset + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, offset)
        offset += 8
        if name == b"fmt ":
            form = _read_format(data[offset : offset + size])
        elif name == b"data":
            if form is None:
                raise AudioFault("has its samples before their format: not a valid WAV file")
            piped = size == _UNKNOWN_SIZE or (size == 0 and riff_bytes in (0, _UNKNOWN_SIZE))
            samples = data[offset:] if piped else data[offset : offset + size]
            return _waveform(samples, form, None if piped else size), form.rate_hz
        offset += size + size % 2  # chunks start at even offsets
    raise AudioFault("ends before its samples: truncated, or without a data chunk")


def _read_format(chunk: memoryview) -> _Format:
    if len(chunk) < 16:
        raise AudioFault(f"has a format chunk of {len(chunk)} bytes, 16 are the least: truncated")
    code, num_channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if code == _EXTENSIBLE:
        if len(chunk) < 40 or bytes(chunk[26:40]) != _GUID_TAIL:
            raise AudioFault(f"has an extensible format that is not known here. {_CONVERT}")
        (code,) = struct.unpack_from("<H", chunk, 24)
    allowed = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}.get(code)
    if allowed is None:
        raise AudioFault(f"is {_OTHER_FORMATS.get(code, f'of format {code}')}, not PCM. {_CONVERT}")
    if bits not in allowed:
        raise AudioFault(f"has {bits} bits a sample, {allowed} can be read. {_CONVERT}")
    form = _Format(code, num_channels, rate_hz, bits // 8)
    if num_channels < 1 or form.frame_bytes != frame_bytes:
        raise AudioFault(
            f"claims {frame_bytes} bytes a frame for {num_channels} channels of {bits} bits: "
            "its header is damaged"
        )
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioFault(f"has {rate_hz} samples a second, {MIN_RATE_HZ}-{MAX_RATE_HZ} can be read")
    return form


def _waveform(samples: memoryview, form: _Format, stated_bytes: int | None) -> np.ndarray:
    """Decode in blocks, so that memory holds one float32 channel and little beside it."""
    if stated_bytes is not None and len(samples) < stated_bytes:
        raise AudioFault(
            f"is truncated: {stated_bytes:,} bytes of samples stated, {len(samples):,} there"
        )
    num_frames, rest_bytes = divmod(len(samples), form.frame_bytes)
    if stated_bytes is not None and rest_bytes:
        raise AudioFault(
            f"is damaged: {stated_bytes:,} bytes of samples are not whole frames "
            f"of {form.frame_bytes}"
        )
    if num_frames == 0:
        raise AudioFault("holds no samples")
    waveform = np.empty(num_frames, dtype=np.float32)
    block_frames = max(1, _BLOCK_FRAMES // form.num_channels)
    for start in range(0, num_frames, block_frames):
        stop = min(start + block_frames, num_frames)
        block = samples[start * form.frame_bytes : stop * form.frame_bytes]
        frames = _samples(block, form).reshape(-1, form.num_channels)
        waveform[start:stop] = frames.mean(axis=1)
    if form.code == _FLOAT:
        np.clip(waveform, -1.0, 1.0, out=waveform)
    return waveform


def _samples(block: memoryview, form: _Format) -> np.ndarray:
    """float64 (frames * channels,) in [-1, 1): exact for every integer width."""
    if form.code == _FLOAT:
        values = np.frombuffer(block, dtype=f"<f{form.sample_bytes}").astype(np.float64)
        peak = float(np.max(np.abs(values), initial=0.0))
        if not np.isfinite(peak):
            raise AudioFault("holds NaN or infinite samples")
        if peak > PEAK_LIMIT:
            raise AudioFault(f"has a peak of {peak:g}; float samples must lie in [-1, 1]")
        return values
    if form.sample_bytes == 1:  # the one width that is stored unsigned
        return (np.frombuffer(block, dtype=np.uint8).astype(np.float64) - 128.0) / 128.0
    if form.sample_bytes == 3:
        # Into the upper three bytes of an int32: the sign comes by itself.
        wide = np.zeros((len(block) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(block, dtype=np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0] / 2.0**31
    integers = np.frombuffer(block, dtype=f"<i{form.sample_bytes}")
    scaled: np.ndarray = integers / 2.0 ** (8 * form.sample_bytes - 1)
    return scaled
