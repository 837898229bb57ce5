"""Blocks of samples from a microphone, through sounddevice."""

import contextlib
import importlib
import logging
import math
import queue
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .faults import AudioFault
from .mending import Mender
from .resample import Resampler

logger = logging.getLogger(__name__)

_WAIT_S = 1.0
_STALL_WAITS = 3
"""Waits without a block after which a microphone is lost that says it is active: ALSA's do."""
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.5, 10.0
"""Between two tries to open a lost microphone; each is twice as long as the one before."""


class MicrophoneLost(AudioFault):
    """The microphone went away while it was listened to."""


def connections(
    sample_rate: int,
    *,
    block_samples: int = 1600,
    device: int | str | None = None,
    queue_blocks: int = 50,
) -> Iterator[Iterator[np.ndarray]]:
    """Listen until the caller stops, and open the microphone again whenever it was lost.

    Each item is the sound of one connection, `blocks`, without a gap; it ends where the microphone
    went away. What follows does not go on from it, so that a stream must be reset, or be a new one.
    A loss and a return are told in the log once; tries in between, after 0.5 to 10 s, are not.

    Args:
        sample_rate, block_samples, queue_blocks: as `blocks` takes them.
        device: as there; a name finds it again, and a number may be another's by then.

    Yields:
        iterators of float32 (samples,) in [-1, 1], each to be used up before the next.

    Raises:
        AudioFault: what `blocks` raises at the very first connection: a wrong name is not waited
            for.
    """
    pause_s = _FIRST_PAUSE_S
    was_there = False
    while True:
        connection = blocks(
            sample_rate, block_samples=block_samples, device=device, queue_blocks=queue_blocks
        )
        try:
            first = next(connection)
        except AudioFault:
            if not was_there:
                raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            _look_for_devices_again()
            continue
        if was_there:
            logger.warning("the microphone is back")
        was_there, pause_s = True, _FIRST_PAUSE_S
        yield _until_lost(first, connection)
        _look_for_devices_again()


def blocks(
    sample_rate: int,
    *,
    block_samples: int = 1600,
    device: int | str | None = None,
    queue_blocks: int = 50,
) -> Iterator[np.ndarray]:
    """Listen until the caller stops or the microphone goes away, one channel.

    The audio thread never waits: if the caller falls behind by `queue_blocks`, new blocks are lost,
    counted and warned about in the log, each time that twice as many were lost. The microphone is
    closed when the iterator is, also by Ctrl-C, which goes on to the caller. A microphone that
    refuses the rate is opened at its own, and resampled. Samples that are not finite, and an
    overdriven microphone, are mended as `Mender` says.

    Args:
        sample_rate: samples per second wanted.
        block_samples: samples in each block; about as many where they are resampled.
        device: sounddevice's number or a part of a device's name; None: the system's default.
        queue_blocks: blocks that may wait for the caller; 50 of 1600 samples are 5 s at 16 kHz.

    Yields:
        float32 (samples,) in [-1, 1].

    Raises:
        AudioFault: sounddevice or PortAudio is not installed, or no microphone can be opened. At
            the first block, as everything here.
        MicrophoneLost: it went away, or gave nothing for 3 s.
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

    def opened(rate_hz: int) -> Any:
        return sounddevice.InputStream(
            samplerate=rate_hz,
            blocksize=max(1, block_samples * rate_hz // sample_rate),
            device=device,
            channels=1,
            dtype="float32",
            callback=take,
        )

    mender = Mender()
    warn_at_blocks = 1
    was_open = False
    try:
        rate_hz, microphone = _at_some_rate(sounddevice, opened, sample_rate, device)
        resampler = Resampler(rate_hz, sample_rate)
        with microphone:
            _Open.count += 1
            was_open = True
            try:
                while True:
                    block = resampler.push(
                        mender.mend(_next(ready, microphone, block_samples / sample_rate))
                    )
                    if lost_blocks >= warn_at_blocks:
                        warn_at_blocks = 2 * lost_blocks
                        logger.warning(
                            "the microphone overflowed: %d blocks of %d samples lost so far; "
                            "the model is too slow for this device, or the device too busy",
                            lost_blocks,
                            block_samples,
                        )
                    yield block
            finally:
                _Open.count -= 1
    except (sounddevice.PortAudioError, ValueError, OSError) as error:
        fault = _unusable(error, sample_rate, device)
        raise (MicrophoneLost(str(fault)) if was_open else fault) from error


class _Open:
    """Microphones that this process listens to now."""

    count = 0


def _at_some_rate(
    sounddevice: Any, opened: Any, sample_rate: int, device: int | str | None
) -> tuple[int, Any]:
    """The wanted rate, or the device's own where that is refused; raises as the former did."""
    try:
        return sample_rate, opened(sample_rate)
    except sounddevice.PortAudioError:
        try:
            rate_hz = round(sounddevice.query_devices(device, "input")["default_samplerate"])
        except (sounddevice.PortAudioError, ValueError):
            rate_hz = sample_rate
        if rate_hz == sample_rate:
            raise
        return rate_hz, opened(rate_hz)


def _until_lost(first: np.ndarray, connection: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    try:
        yield first
        yield from connection
    except MicrophoneLost:
        logger.warning("the microphone went away; it is opened again as soon as it is there")


def _look_for_devices_again() -> None:
    """PortAudio lists devices when it starts, and never again; a start closes all that is open."""
    if _Open.count == 0:
        sounddevice = _sounddevice()
        for restart in (sounddevice._terminate, sounddevice._initialize):
            with contextlib.suppress(sounddevice.PortAudioError):  # opening will say so
                restart()


def _next(ready: "queue.SimpleQueue[np.ndarray]", microphone: Any, block_s: float) -> np.ndarray:
    for _ in range(_STALL_WAITS + math.ceil(2 * block_s / _WAIT_S)):
        try:
            return ready.get(timeout=_WAIT_S)
        except queue.Empty:
            if not microphone.active:
                break
    raise MicrophoneLost("the microphone went away; plug it in and start again")


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
