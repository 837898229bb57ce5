"""Running audio made of clips: words at known times, in quiet, noise or babble, in rooms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.data.acoustics import coloured_noise, in_a_room
from train.data.augment import faded, levelled, mean_power
from train.data.cuts import SAMPLE_RATE

from .matching import Word
from .negatives import resampled

Waveform = NDArray[np.float32]

NUM_TALKERS = 5
"""Of a babble."""
_LEAD_S = (0.5, 1.0)
_FADE_SAMPLES = SAMPLE_RATE // 50
_PEAK = 0.99
_PINK = 1.0


@dataclass(frozen=True)
class Condition:
    """What is heard beside the words."""

    kind: str
    """`clean`, `noise` or `babble`."""
    snr_db: float | None = None
    """Power of the words over that of the noise; None where it is clean."""

    @property
    def name(self) -> str:
        """For a table."""
        return self.kind if self.snr_db is None else f"{self.kind} {self.snr_db:g} dB"


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip and where its word is."""

    waveform: Waveform
    """float32 (samples,) at 16 kHz."""
    keyword: int | None
    """A keyword's column; None for a clip that holds none."""
    span: tuple[int, int]
    """First sample of the word and the one past its last."""


@dataclass(frozen=True, eq=False)
class Sounds:
    """What conditions are made of, at 16 kHz."""

    noises: Sequence[Waveform] = ()
    talkers: Sequence[Waveform] = ()
    """Speech for a babble, each of another speaker where speakers are known."""
    rooms: Sequence[Waveform] = ()
    """Responses of rooms."""
    in_rooms: bool = False
    """Whether words are heard in a room: one of `rooms`, or without any, one made from the seed."""

    def holds(self, condition: Condition) -> bool:
        """Whether there is enough for this condition."""
        enough = {"clean": True, "noise": len(self.noises) > 0}
        return enough.get(condition.kind, len(self.talkers) >= NUM_TALKERS)


def scene(
    clips: Sequence[Clip],
    condition: Condition,
    sounds: Sounds,
    *,
    tail_samples: int,
    seed: Sequence[int],
) -> tuple[Waveform, list[Word]]:
    """Set clips one after the other, each with a lead of 0.5 to 1 s and time for its event.

    Between clips lies pink noise as loud as the clip's own quiet tenth. Noise and babble go on
    through lead, clip and tail, as loud as the ratio asks against the word alone, its pauses left
    out; each clip has its own piece of them. In a room the word's end is that of its direct sound.

    Args:
        clips: in the order of time.
        condition: which the sounds hold.
        sounds: what it is made of.
        tail_samples: least samples from a word's end to the next clip's lead.
        seed: of leads, rooms and noises; the same leads in every condition.

    Returns:
        float32 (samples,) in [-1, 1] at 16 kHz, and the words in it.
    """
    leads, dice = np.random.default_rng([*seed, 0]), np.random.default_rng([*seed, 1])
    pieces, words, place = [np.zeros(0, dtype=np.float32)], [], 0
    for clip in clips:
        lead = int(leads.uniform(*_LEAD_S) * SAMPLE_RATE)
        tail = max(0, tail_samples - (len(clip.waveform) - clip.span[1]))
        piece = _in_quiet(clip.waveform, lead, tail, leads)
        if sounds.in_rooms:
            piece = _in_room(piece, sounds.rooms, dice)
        start, end = lead + clip.span[0], lead + clip.span[1]
        if condition.snr_db is not None:
            power = mean_power(piece[start:end])
            noise = _noise(condition.kind, len(piece), sounds, dice)
            level = np.sqrt(power) * 10.0 ** (-condition.snr_db / 20.0)
            piece = piece + np.float32(level) * faded(noise)
        piece = piece * np.float32(min(1.0, _PEAK / max(float(np.abs(piece).max()), 1e-9)))
        pieces.append(piece)
        if clip.keyword is not None:
            words.append(Word(clip.keyword, place + start, place + end))
        place += len(piece)
    return np.concatenate(pieces), words


def at_rate(
    waveform: Waveform, words: Sequence[Word], sample_rate: int
) -> tuple[Waveform, list[Word]]:
    """A scene at another rate, its words' times with it."""
    ratio = sample_rate / SAMPLE_RATE
    moved = [
        Word(word.keyword, round(word.start_samples * ratio), round(word.end_samples * ratio))
        for word in words
    ]
    return resampled(waveform, SAMPLE_RATE, sample_rate), moved


def _in_quiet(clip: Waveform, lead: int, tail: int, rng: np.random.Generator) -> Waveform:
    """The clip between stretches of its own noise floor."""
    from scipy.fft import next_fast_len

    num_frames = len(clip) // _FADE_SAMPLES
    level = 0.0
    if num_frames:
        frames = clip[: num_frames * _FADE_SAMPLES].reshape(num_frames, -1)
        level = float(np.quantile(np.sqrt(np.mean(np.square(frames), axis=1)), 0.1))
    total = lead + len(clip) + tail
    # It gives way to the clip, whose floor it continues.
    share = np.ones(total, dtype=np.float32)
    share[lead : lead + len(clip)] = 1.0 - faded(np.ones(len(clip), dtype=np.float32))
    # At a length that has small factors: others take the transform several times as long.
    floor = coloured_noise(next_fast_len(total), _PINK, rng)[:total]
    piece = floor * np.float32(level) * share
    piece[lead : lead + len(clip)] += faded(clip)
    return piece


def _in_room(piece: Waveform, rooms: Sequence[Waveform], rng: np.random.Generator) -> Waveform:
    """Heard over a room's response, its direct sound in place and the loudness kept."""
    if not len(rooms):
        return in_a_room(
            piece,
            decay_s=rng.uniform(0.2, 0.6),
            tail_db=rng.uniform(-12.0, 0.0),
            tilt=0.0,
            rng=rng,
        )
    from scipy.signal import fftconvolve

    response = rooms[int(rng.integers(len(rooms)))]
    direct = int(np.abs(response).argmax())
    heard = fftconvolve(piece, response)[direct : direct + len(piece)]
    energies = [float(np.sum(np.square(each, dtype=np.float64))) for each in (piece, heard)]
    scaled: Waveform = (heard * np.sqrt(energies[0] / max(energies[1], 1e-12))).astype(np.float32)
    return scaled


def _noise(kind: str, num_samples: int, sounds: Sounds, rng: np.random.Generator) -> Waveform:
    """A root mean square of 1: a piece of one noise, or of several talkers, each as loud."""
    if kind == "noise":
        return _cut(sounds.noises[int(rng.integers(len(sounds.noises)))], num_samples, rng)
    chosen = rng.choice(len(sounds.talkers), NUM_TALKERS, replace=False)
    mixed = np.sum([_cut(sounds.talkers[index], num_samples, rng) for index in chosen], axis=0)
    return levelled(mixed.astype(np.float32))


def _cut(sound: Waveform, num_samples: int, rng: np.random.Generator) -> Waveform:
    """From a random sample on, begun anew at its end."""
    start = int(rng.integers(len(sound)))
    return levelled(sound.take(np.arange(start, start + num_samples), mode="wrap"))
