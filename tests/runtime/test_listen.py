"""Listening: from any source to the same events."""

import dataclasses
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtime
import runtime.microphone
from runtime import AudioFault, Event, Model, listen
from runtime.bundle import Streaming
from runtime.resample import resample

RATES_HZ = (8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000)


def _cut(waveform: np.ndarray, lengths: list[int]) -> Iterator[np.ndarray]:
    """Blocks of these lengths in turns; the last takes what is left after 1000 of them."""
    start = 0
    for number in range(1000):
        length = lengths[number % len(lengths)]
        yield waveform[start : start + length]
        start += length
    yield waveform[start:]


@settings(max_examples=10, deadline=None)
@given(
    rate_hz=st.sampled_from(RATES_HZ),
    lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=5),
    as_int16=st.booleans(),
)
def test_any_rate_and_any_blocks_give_the_same_events(
    model: Model,
    speech: Callable[..., np.ndarray],
    rate_hz: int,
    lengths: list[int],
    as_int16: bool,
) -> None:
    waveform = speech((0.5, "yes"), (1.2, "no"), duration_s=2.0, rate_hz=rate_hz)
    if as_int16:
        waveform = np.round(waveform * 32_768).astype(np.int16)
    events = list(listen(model, _cut(waveform, lengths), sample_rate=rate_hz))
    assert events == list(listen(model, [waveform], sample_rate=rate_hz))
    assert [event.label for event in events] == ["yes", "no"]
    assert [event.start_s for event in events] == pytest.approx([0.5, 1.2], abs=0.06)
    whole = resample(
        (waveform / 32_768 if as_int16 else waveform).astype(np.float32), rate_hz, 16_000
    )
    assert events == list(listen(model, [whole]))


def test_a_bundle_is_listened_to_by_its_path(
    bundle: Path, speech: Callable[..., np.ndarray], model: Model
) -> None:
    waveform = speech((0.5, "yes"), duration_s=1.0)
    for source in (bundle, str(bundle), model):
        assert [event.label for event in runtime.listen(source, [waveform])] == ["yes"]


def test_threshold_and_gate_are_the_streams(
    model: Model, speech: Callable[..., np.ndarray]
) -> None:
    quiet = [0.18 * speech((0.5, "yes"), duration_s=1.0)]  # a posterior of 0.96
    assert len(list(listen(model, quiet, threshold=0.9))) == 1
    assert list(listen(model, quiet, threshold=0.99)) == []
    # What nobody could say: an offset that comes so slowly that it is no sound.
    drift = [(0.5 * np.sin(np.linspace(0.0, np.pi, 640_000)) ** 2).astype(np.float32)]
    assert len(list(listen(model, drift, gate=False))) == 1
    assert list(listen(model, drift)) == []


@pytest.mark.parametrize("rate_hz", [0, 3999, 192_001])
def test_a_rate_out_of_range_is_refused_at_the_call(model: Model, rate_hz: int) -> None:
    with pytest.raises(AudioFault, match=rf"\[4000, 192000\], got {rate_hz}"):
        listen(model, [], sample_rate=rate_hz)


def test_a_block_that_is_none_is_a_fault_at_any_rate(model: Model) -> None:
    broken = np.array([0.0, np.nan], dtype=np.float32)
    for rate_hz in (16_000, 48_000):
        with pytest.raises(AudioFault, match="NaN"):
            list(listen(model, [broken], sample_rate=rate_hz))


class Sounds:
    """A microphone that plays one recording each time it is opened, and then is gone."""

    recordings: tuple[np.ndarray, ...] = ()
    num_opened = 0
    num_closed = 0

    def __init__(self, *, callback: Callable[..., None], **_: Any) -> None:
        if Sounds.num_opened == len(self.recordings):
            raise KeyboardInterrupt  # the person who listens has heard enough
        self._recording = self.recordings[Sounds.num_opened]
        self._callback = callback
        self.active = False
        Sounds.num_opened += 1

    def __enter__(self) -> "Sounds":
        for start in range(0, len(self._recording), 1600):
            block = self._recording[start : start + 1600, None]
            self._callback(block, len(block), None, None)
        return self

    def __exit__(self, *_: object) -> None:
        Sounds.num_closed += 1


@pytest.fixture
def sounds(monkeypatch: pytest.MonkeyPatch) -> type[Sounds]:
    module = types.SimpleNamespace(
        InputStream=Sounds, PortAudioError=OSError, _terminate=list, _initialize=list
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(runtime.microphone, "_WAIT_S", 0.001)
    for name in ("num_opened", "num_closed"):
        monkeypatch.setattr(Sounds, name, 0)
    return Sounds


def test_after_a_lost_microphone_the_stream_is_as_new(
    model: Model,
    speech: Callable[..., np.ndarray],
    sounds: type[Sounds],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The first ends within a word, so that states and windows would go on with it.
    cut_off = speech((0.3, "yes"), (0.9, "no"), duration_s=1.1)[: 16 * 930]
    whole = speech((0.7, "no"), duration_s=1.2)
    monkeypatch.setattr(Sounds, "recordings", (cut_off, whole))
    events: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        events.extend(listen(model))
    assert events == [*listen(model, [cut_off]), *listen(model, [whole])]
    assert [event.label for event in events] == ["yes", "no", "no"]
    assert sounds.num_closed == 2


def test_an_iterator_that_is_closed_closes_the_microphone(
    model: Model,
    speech: Callable[..., np.ndarray],
    sounds: type[Sounds],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Sounds, "recordings", (speech((0.3, "yes"), duration_s=2.0),))
    events = listen(model)
    assert next(events).label == "yes"
    assert sounds.num_closed == 0
    events.close()  # type: ignore[attr-defined]
    assert sounds.num_closed == 1


def test_two_microphones_at_once_share_one_model(
    model: Model, speech: Callable[..., np.ndarray]
) -> None:
    recordings = [
        np.concatenate([speech((0.5, word), (1.2, other), duration_s=2.0)] * 10)
        for word, other in (("yes", "no"), ("no", "no"), ("yes", "yes"))
    ]
    alone = [list(listen(model, _cut(waveform, [1600]))) for waveform in recordings]
    together: list[list[Event]] = [[] for _ in recordings]

    def hear(number: int) -> None:
        together[number].extend(listen(model, _cut(recordings[number], [1600])))

    threads = [threading.Thread(target=hear, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    assert [len(events) for events in alone] == [20, 20, 20]


def test_two_minutes_of_a_clock_that_runs_fast_leave_no_memory_behind(
    fake_model: Model, at_most: Callable[[float], AbstractContextManager[None]]
) -> None:
    """Blocks of 44.1 kHz with 0.1 % more samples than the time they are for.

    All of it as float32 would be 20 MiB.
    """
    block = np.zeros(44_145, dtype=np.float32)

    def blocks() -> Iterator[np.ndarray]:
        for number in range(120):
            block[::1000] = 0.5 * (number % 40 == 0)
            yield block

    manifest = dataclasses.replace(
        fake_model.manifest,
        streaming=Streaming(window_samples=16_000, hop_samples=8000),
        digest="",
    )
    model = dataclasses.replace(fake_model, manifest=manifest)
    with at_most(6):
        for _ in listen(model, blocks(), sample_rate=44_100):
            pass
