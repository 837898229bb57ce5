"""The microphone, with a sounddevice of our own making: no hardware, no sleeping."""

import logging
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import runtime.microphone
from runtime.faults import AudioFault
from runtime.microphone import blocks


class PortAudioError(Exception):
    pass


class FakeStream:
    """Plays its blocks into the callback as soon as it is started."""

    played: tuple[np.ndarray, ...] = ()
    status: object = None
    opened: list["FakeStream"] = []  # noqa: RUF012 a test's own record

    def __init__(self, *, callback: Callable[..., None], **options: Any) -> None:
        if options["samplerate"] == 12345:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        self.callback = callback
        self.options = options
        self.active = False
        FakeStream.opened.append(self)

    def __enter__(self) -> "FakeStream":
        for block in self.played:
            self.callback(block, len(block), None, self.status)
            block[:] = 99.0  # PortAudio uses its buffer again
        return self

    def __exit__(self, *_: object) -> None:
        self.options["closed"] = True


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> type[FakeStream]:
    module = types.SimpleNamespace(InputStream=FakeStream, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(runtime.microphone, "_WAIT_S", 0.001)
    monkeypatch.setattr(FakeStream, "opened", [])
    ramps = [np.full((4, 1), index / 8, dtype=np.float32) for index in range(5)]
    monkeypatch.setattr(FakeStream, "played", tuple(ramps))
    return FakeStream


def test_blocks_come_in_order_and_a_lost_microphone_is_a_fault(
    sounddevice: type[FakeStream],
) -> None:
    source = blocks(16000, block_samples=4, device="usb")
    for index in range(5):
        np.testing.assert_array_equal(next(source), np.full(4, index / 8, dtype=np.float32))
    with pytest.raises(AudioFault, match="went away"):
        next(source)
    options = sounddevice.opened[0].options
    assert (options["samplerate"], options["device"], options["channels"]) == (16000, "usb", 1)
    assert options["closed"]


def test_a_slow_caller_loses_counted_blocks(
    sounddevice: type[FakeStream], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = blocks(16000, block_samples=4, queue_blocks=2)
        assert [float(next(source)[0]) for _ in range(2)] == [0.0, 0.125]
    assert [record.getMessage()[:45] for record in caplog.records] == [
        "the microphone overflowed: 3 blocks of 4 samp"
    ]


def test_losses_that_portaudio_reports_are_counted(
    sounddevice: type[FakeStream],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeStream, "status", "input overflow")
    with caplog.at_level(logging.WARNING):
        next(blocks(16000, block_samples=4))
    assert "5 blocks" in caplog.text


def test_closing_the_iterator_closes_the_microphone(sounddevice: type[FakeStream]) -> None:
    source = blocks(16000)
    next(source)
    source.close()  # type: ignore[attr-defined]
    assert sounddevice.opened[0].options["closed"]


def test_a_rate_the_device_refuses_is_a_fault(sounddevice: type[FakeStream]) -> None:
    with pytest.raises(AudioFault, match="12345 Hz: Invalid sample rate"):
        next(blocks(12345))


def test_a_missing_sounddevice_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioFault, match="pip install sounddevice"):
        next(blocks(16000))


def test_a_missing_portaudio_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr(runtime.microphone.importlib, "import_module", refuse)
    with pytest.raises(AudioFault, match="apt-get install libportaudio2"):
        next(blocks(16000))
