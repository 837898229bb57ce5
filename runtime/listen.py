"""From a bundle and a source of sound to events; both command lines call this."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from . import microphone
from .faults import AudioFault
from .keyword import Event
from .phrases.asked import listening_for
from .resample import Resampler, resample
from .stream import Model, Stream, load
from .wav import MAX_RATE_HZ, MIN_RATE_HZ, read_wav
from .waveform import as_waveform


def listen(
    bundle: str | Path | Model,
    blocks: Iterable[np.ndarray] | None = None,
    *,
    sample_rate: int | None = None,
    keywords: Mapping[str, Sequence[Sequence[str]]] | None = None,
    threshold: float | None = None,
    gate: bool = True,
    device: int | str | None = None,
) -> Iterator[Event]:
    """Give events as they come, those of the tail last.

    The bundle is loaded at the call. Without blocks the microphone is listened to until the caller
    stops; where it was lost and came back, events count from 0 s again.

    Args:
        bundle: a bundle's folder or its .zip; or a model, shared with other streams if you like.
        blocks: as `Stream.push` takes them, of any size; None: the microphone.
        sample_rate: samples per second of `blocks`, in [4000, 192000]; None: the model's. Others
            are resampled, which makes events 3 ms late.
        keywords: of a phone model, and in place of the bundle's own: text to the ways in which it
            is said, such as {"turn on": [["T", "ER", "N", "AA", "N"]]}; each at a threshold of 0.5.
        threshold: of every keyword in place of the manifest's, in (0, 1].
        gate: leave the model out of stretches without speech; see gate.py.
        device: the microphone's number or a part of its name; None: the system's default.

    Raises:
        RuntimeFault: what `load`, `Stream.push` and the source raise; a sample rate out of range;
            keywords for a model of keywords, or with phones that the model does not know.
    """
    model = bundle if isinstance(bundle, Model) else load(bundle)
    if keywords is not None:
        model = listening_for(model, keywords)
    rate_hz = model.sample_rate if sample_rate is None else sample_rate
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioFault(f"sample_rate must lie in [{MIN_RATE_HZ}, {MAX_RATE_HZ}], got {rate_hz}")
    stream = Stream(model, threshold=threshold, gate=gate)
    if blocks is None:
        return _from_microphone(stream, model.sample_rate, device)
    return _events(stream, _resampled(blocks, rate_hz, model.sample_rate))


def _from_microphone(stream: Stream, sample_rate: int, device: int | str | None) -> Iterator[Event]:
    for blocks in microphone.connections(sample_rate, device=device):
        yield from _events(stream, blocks)


def _events(stream: Stream, blocks: Iterable[np.ndarray]) -> Iterator[Event]:
    """Of sound without a gap; the stream is as new after it."""
    for block in blocks:
        yield from stream.push(block)
    yield from stream.flush()


def _resampled(blocks: Iterable[np.ndarray], from_hz: int, to_hz: int) -> Iterable[np.ndarray]:
    if from_hz == to_hz:
        yield from blocks
        return
    resampler = Resampler(from_hz, to_hz)
    for block in blocks:
        yield resampler.push(as_waveform(block))
    yield resampler.flush()


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
