"""Blocks of samples from a microphone, through sounddevice."""

import importlib
import logging
import queue
from collections.abc import Iterator
from typing import Any

import numpy as np

from .faults import AudioFault

logger = logging.getLogger(__name__)

_WAIT_S = 1.0


def blocks(
    sample_rate: int,
    *,
    block_samples: int = 1600,
    device: int | str | None = None,
    queue_blocks: int = 50,
) -> Iterator[np.ndarray]:
    """Listen until the caller stops, one channel.

    The audio thread never waits: if the caller falls behind by `queue_blocks`, new blocks are lost,
    counted and warned about in the log. The microphone is closed when the iterator is, also by
    Ctrl-C, which goes on to the caller.

    Args:
        sample_rate: samples per second wanted of the device.
        block_samples: samples in each block.
        device: sounddevice's number or a part of a device's name; None: the system's default.
        queue_blocks: blocks that may wait for the caller; 50 of 1600 samples are 5 s at 16 kHz.

    Yields:
        float32 (block_samples,) in [-1, 1].

    Raises:
        AudioFault: sounddevice or PortAudio is not installed, no microphone takes this rate, or
            it went away. At the first block, as everything here.
    """
    sounddevice = _sounddevice()
    ready: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()  # its put never waits for a lock
    lost_blocks = 0

    def take(indata: np.ndarray, _frames: int, _time: object, status: object) -> None:
        nonlocal lost_blocks
        if ready.qsize() >= queue_blocks:
            lost_blocks += 1
            return
        if status:  # PortAudio itself lost samples before this block
            lost_blocks += 1
        ready.put(indata[:, 0].copy())

    warned_blocks = 0
    try:
        with sounddevice.InputStream(
            samplerate=sample_rate,
            blocksize=block_samples,
            device=device,
            channels=1,
            dtype="float32",
            callback=take,
        ) as stream:
            while True:
                block = _next(ready, stream)
                if lost_blocks > warned_blocks:
                    warned_blocks = lost_blocks
                    logger.warning(
                        "the microphone overflowed: %d blocks of %d samples lost so far; "
                        "the model is too slow for this device, or the device too busy",
                        lost_blocks,
                        block_samples,
                    )
                yield block
    except (sounddevice.PortAudioError, ValueError, OSError) as error:
        raise _unusable(error, sample_rate, device) from error


def _next(ready: "queue.SimpleQueue[np.ndarray]", stream: Any) -> np.ndarray:
    while True:
        try:
            return ready.get(timeout=_WAIT_S)
        except queue.Empty:
            if not stream.active:
                raise AudioFault("the microphone went away; plug it in and start again") from None


def _sounddevice() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except ImportError as error:
        raise AudioFault("the microphone needs sounddevice: pip install sounddevice") from error
    except OSError as error:  # how sounddevice reports an absent PortAudio
        raise AudioFault(
            f"sounddevice finds no PortAudio ({error}): apt-get install libportaudio2"
        ) from error


def _unusable(error: Exception, sample_rate: int, device: int | str | None) -> AudioFault:
    reason = " ".join(str(error).split())
    name = "the default microphone" if device is None else f"microphone {device!r}"
    return AudioFault(
        f"{name} cannot be used at {sample_rate} Hz: {reason}. `python -m sounddevice` lists "
        "the devices; choose one with --device, or give a recording with --wav."
    )
