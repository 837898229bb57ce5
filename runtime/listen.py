"""From a source of blocks to events; both command lines, the device's and `compress`, call this."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from .faults import AudioFault
from .keyword import Event
from .resample import resample
from .stream import Model
from .wav import read_wav


def listen(
    model: Model, blocks: Iterable[np.ndarray], *, threshold: float | None = None
) -> Iterator[Event]:
    """Push every block and give the events as they come, those of the tail last.

    Args:
        model: shared with other streams if you like; this one is new.
        blocks: as `Stream.push` takes them, at the model's sample rate.
        threshold: in place of the manifest's, in (0, 1].

    Raises:
        RuntimeFault: what `Stream.push` and the source raise.
    """
    stream = model.stream(threshold=threshold)
    for block in blocks:
        yield from stream.push(block)
    yield from stream.flush()


def wav_blocks(
    path: str | Path, sample_rate: int, *, block_samples: int = 1600
) -> Iterator[np.ndarray]:
    """A recording as a microphone would give it: one channel, at the wanted rate, in blocks.

    The file is read at the call, so that its faults come before the first block.

    Args:
        path: a WAV of any rate and number of channels that `read_wav` takes.
        sample_rate: samples per second of the blocks.
        block_samples: samples in each block; the last may be shorter.

    Returns:
        float32 (samples,) blocks in [-1, 1].

    Raises:
        AudioFault: the file cannot be read.
    """
    if block_samples < 1:
        raise AudioFault(f"block_samples must be 1 or more, got {block_samples}")
    waveform, rate_hz = read_wav(path)
    waveform = np.clip(resample(waveform, rate_hz, sample_rate), -1.0, 1.0)
    return (
        waveform[start : start + block_samples] for start in range(0, len(waveform), block_samples)
    )
