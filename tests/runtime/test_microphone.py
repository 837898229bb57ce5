"""The microphone, with a sounddevice of our own making: no hardware, no sleeping."""

import logging
import sys
import types
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runtime.microphone
from runtime.faults import AudioFault
from runtime.mending import Mender
from runtime.microphone import MicrophoneLost, blocks, connections
from runtime.resample import Resampler


class PortAudioError(Exception):
    pass


class FakeStream:
    """Plays its blocks into the callback as soon as it is started."""

    played: tuple[np.ndarray, ...] = ()
    refusals: int = 0
    stays_active: bool = False
    status: object = None
    opened: list["FakeStream"] = []  # noqa: RUF012 a test's own record

    def __init__(self, *, callback: Callable[..., None], **options: Any) -> None:
        if options["samplerate"] in (12345, 11025):
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        if FakeStream.opened and FakeStream.refusals:
            FakeStream.refusals -= 1
            raise PortAudioError("Error querying device -1")
        self.callback = callback
        self.options = options
        self.active = self.stays_active
        FakeStream.opened.append(self)

    def __enter__(self) -> "FakeStream":
        for block in self.played:
            buffer = block.copy()
            self.callback(buffer, len(block), None, self.status)
            buffer[:] = 99.0  # PortAudio uses its buffer again
        return self

    def __exit__(self, *_: object) -> None:
        self.options["closed"] = True


def _query_devices(device: object, kind: str) -> dict[str, float]:
    if device == "old":
        raise ValueError("No input device matching 'old'")
    return {"default_samplerate": 48_000.0 if device == "usb" else 12345.0}


@pytest.fixture
def pauses_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Instead of sleeping."""
    asked: list[float] = []
    monkeypatch.setattr(runtime.microphone.time, "sleep", asked.append)
    return asked


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> type[FakeStream]:
    restarts: list[str] = []
    module = types.SimpleNamespace(
        InputStream=FakeStream,
        PortAudioError=PortAudioError,
        query_devices=_query_devices,
        _terminate=lambda: restarts.append("terminate"),
        _initialize=lambda: restarts.append("initialize"),
        restarts=restarts,
    )
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
    for device in (None, "old"):
        with pytest.raises(AudioFault, match="12345 Hz: Invalid sample rate"):
            next(blocks(12345, device=device))


def test_a_microphone_that_refuses_the_rate_is_resampled_from_its_own(
    sounddevice: type[FakeStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, 4800).astype(np.float32)
    monkeypatch.setattr(FakeStream, "played", tuple(waveform.reshape(-1, 480, 1)))
    source = blocks(11025, block_samples=110, device="usb")
    heard = []
    with pytest.raises(MicrophoneLost):
        heard.extend(source)
    resampler = Resampler(48_000, 11025)
    np.testing.assert_array_equal(np.concatenate([*heard]), resampler.push(waveform))
    options = sounddevice.opened[0].options
    assert (options["samplerate"], options["blocksize"]) == (48_000, 478)


def test_a_lost_microphone_is_opened_again_and_each_sound_ends_where_it_went_away(
    sounddevice: type[FakeStream],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    pauses_s: list[float],
) -> None:
    monkeypatch.setattr(FakeStream, "refusals", 7)
    sounds = connections(16000, block_samples=4)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            sound = np.concatenate([*next(sounds)])
            np.testing.assert_array_equal(sound, np.repeat(np.arange(5) / 8, 4))
    assert pauses_s == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "the microphone went away",
        "the microphone is back",
        "the microphone went away",
    ]
    restarts = sys.modules["sounddevice"].restarts
    assert restarts == ["terminate", "initialize"] * 8
    assert all(stream.options["closed"] for stream in sounddevice.opened)


def test_devices_are_not_listed_anew_while_another_microphone_is_open(
    sounddevice: type[FakeStream], monkeypatch: pytest.MonkeyPatch, pauses_s: list[float]
) -> None:
    other = blocks(16000)
    next(other)
    sounds = connections(16000, block_samples=4)
    for _ in range(2):
        assert len([*next(sounds)]) == 5
    assert sys.modules["sounddevice"].restarts == []
    other.close()  # type: ignore[attr-defined]
    next(sounds)
    assert sys.modules["sounddevice"].restarts == ["terminate", "initialize"]


def test_a_microphone_that_never_was_there_is_not_waited_for(
    sounddevice: type[FakeStream], pauses_s: list[float]
) -> None:
    with pytest.raises(AudioFault, match="12345 Hz"):
        next(connections(12345))
    assert pauses_s == []


def test_a_microphone_that_gives_nothing_is_lost_though_it_says_it_is_active(
    sounddevice: type[FakeStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeStream, "stays_active", True)
    source = blocks(16000, block_samples=4)
    for _ in range(5):
        next(source)
    with pytest.raises(MicrophoneLost, match="went away"):
        next(source)


def test_an_error_of_an_open_microphone_is_a_loss(
    sounddevice: type[FakeStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dead:
        def __bool__(self) -> bool:
            raise PortAudioError("Unanticipated host error [PaErrorCode -9999]")

    monkeypatch.setattr(FakeStream, "stays_active", Dead())
    source = blocks(16000, block_samples=4)
    for _ in range(5):
        next(source)
    with pytest.raises(MicrophoneLost, match="Unanticipated host error"):
        next(source)


def test_portaudio_that_does_not_start_again_is_tried_again(
    sounddevice: type[FakeStream], monkeypatch: pytest.MonkeyPatch, pauses_s: list[float]
) -> None:
    def refuse() -> None:
        raise PortAudioError("PortAudio not initialized")

    monkeypatch.setattr(sys.modules["sounddevice"], "_terminate", refuse)
    monkeypatch.setattr(sys.modules["sounddevice"], "_initialize", refuse)
    monkeypatch.setattr(FakeStream, "refusals", 1)
    sounds = connections(16000, block_samples=4)
    for _ in range(2):
        assert len([*next(sounds)]) == 5
    assert pauses_s == [0.5]


def test_a_microphone_faster_than_its_caller_fills_no_more_than_its_queue(
    sounddevice: type[FakeStream],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    at_most: Callable[[float], AbstractContextManager[None]],
) -> None:
    """1000 blocks of 64 KiB before the first is taken; warned about each time losses doubled."""
    monkeypatch.setattr(FakeStream, "played", (np.zeros((16_384, 1), np.float32),) * 1000)
    with at_most(4), caplog.at_level(logging.WARNING):
        source = blocks(16000, block_samples=16_384, queue_blocks=50)
        for _ in range(50):
            next(source)
    assert [record.args for record in caplog.records] == [(950, 16_384)]


def test_samples_that_are_none_are_silence_and_a_full_scale_is_told(
    sounddevice: type[FakeStream],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = np.array([[np.nan], [np.inf], [0.5], [-1.5]], dtype=np.float32)
    monkeypatch.setattr(FakeStream, "played", (broken,) * 5)
    with caplog.at_level(logging.WARNING):
        source = blocks(16000, block_samples=4)
        for _ in range(5):
            np.testing.assert_array_equal(next(source), np.array([0.0, 0.0, 0.5, -1.0]))
    told = [(record.getMessage().split(":")[0], record.args) for record in caplog.records]
    broken_times = [("the microphone gave NaN or infinity", (2 * n,)) for n in (1, 2, 4)]
    clipped_times = [("the microphone is overdriven", (n,)) for n in (1, 2, 4)]
    assert told == [item for pair in zip(broken_times, clipped_times, strict=True) for item in pair]


@given(
    samples=st.lists(st.floats(width=32), max_size=30),
    quiet=st.lists(st.floats(-0.75, 0.75, width=32), max_size=5),
)
def test_what_is_mended_is_finite_within_range_and_else_itself(
    samples: list[float], quiet: list[float]
) -> None:
    mender = Mender()
    block = np.array([*samples, *quiet], dtype=np.float32)
    mended = mender.mend(block)
    assert np.isfinite(mended).all()
    assert np.abs(mended).max(initial=0.0) <= 1.0
    fine = np.abs(block) <= 1.0  # NaN is not
    np.testing.assert_array_equal(mended[fine], block[fine])
    assert mender.not_finite_samples == np.count_nonzero(~np.isfinite(block))
    assert mender.clipped_samples == np.count_nonzero(np.abs(mended) >= 32767 / 32768)


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
