"""An utterance ends where silence follows it, whatever the blocks."""

from collections.abc import Iterator

import numpy as np
import pytest

from runtime.faults import AudioFault
from runtime.utterance import MOST_S, PATIENCE_S, QUIET_S, utterance

RATE = 16_000


def _sound(*parts: tuple[str, float], seed: int = 0) -> np.ndarray:
    """A quiet room, and "speech" of loud noise in it."""
    rng = np.random.default_rng(seed)
    levels = {"quiet": 0.001, "speech": 0.1}
    return np.concatenate(
        [levels[kind] * rng.standard_normal(round(seconds * RATE)) for kind, seconds in parts]
    ).astype(np.float32)


def _blocks(waveform: np.ndarray, samples: int = 1600) -> Iterator[np.ndarray]:
    return (waveform[start : start + samples] for start in range(0, len(waveform), samples))


@pytest.mark.parametrize("before_s", [0.0, 0.3, 2.0, 8.0])
def test_it_ends_in_the_silence_after_the_last_word(before_s: float) -> None:
    waveform = _sound(
        ("quiet", before_s), ("speech", 0.5), ("quiet", 0.8), ("speech", 0.4), ("quiet", 5.0)
    )
    heard = utterance(_blocks(waveform), RATE)
    np.testing.assert_array_equal(heard, waveform[: len(heard)])
    end_s = before_s + 1.7
    assert end_s + 0.9 * QUIET_S <= len(heard) / RATE <= end_s + QUIET_S + 0.3


@pytest.mark.parametrize("samples", [7_001, 160, 100_000])
def test_blocks_of_any_size_end_in_the_same_place(samples: int) -> None:
    waveform = _sound(("quiet", 1.0), ("speech", 1.0), ("quiet", 4.0))
    heard = utterance(_blocks(waveform, samples), RATE)
    needed = len(utterance(_blocks(waveform), RATE))
    assert abs(len(heard) - needed) <= max(samples, 1600)


def test_blocks_after_the_end_are_not_asked_for() -> None:
    source = _blocks(_sound(("quiet", 1.0), ("speech", 1.0), ("quiet", 9.0)))
    utterance(source, RATE)
    assert len(list(source)) > 50


def test_a_source_that_ends_gives_what_there_was() -> None:
    waveform = _sound(("quiet", 1.5), ("speech", 0.5))
    np.testing.assert_array_equal(utterance(_blocks(waveform), RATE), waveform)


def test_sound_that_never_rests_is_cut_off() -> None:
    loud = _sound(*([("quiet", 0.2), ("speech", 0.4)] * 120))
    assert len(utterance(_blocks(loud), RATE)) / RATE == pytest.approx(MOST_S, abs=0.2)


def test_silence_is_told_after_a_while() -> None:
    source = _blocks(_sound(("quiet", 3 * PATIENCE_S)))
    with pytest.raises(AudioFault, match="nothing was said for 10 s: speak up"):
        utterance(source, RATE)
    assert len(list(source)) > 100
    with pytest.raises(AudioFault, match="before the sound ended"):
        utterance(_blocks(_sound(("quiet", 3.0))), RATE)
    with pytest.raises(AudioFault, match="before the sound ended"):
        utterance([], RATE)
