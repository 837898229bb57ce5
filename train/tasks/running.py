"""Scenes of running sound, and what is said at each of their frames."""

from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from ..config import STRICT
from ..data.acoustics import coloured_noise
from ..data.augment import change_speed, faded, gain, in_room, mean_power, mix_noise, stretch_of
from ..data.rooms import Surroundings
from ..data.running import Speech, Waveform
from ..models.frontend import SAMPLE_RATE
from .augmenting import AugmentConfig

IGNORED = -100
"""A frame that is judged neither way; `cross_entropy` leaves it out."""
NOTHING = 0
"""The label's number where no keyword is said."""

_MOST_TALKERS = 5
_PART_SHARES = (0.3, 0.65)
_MOST_GAP_S = 0.4
_FLOOR_DB = (25.0, 60.0)
"""What is said over the noise of a quiet room."""
_PEAK = 0.9
_QUIET = 1e-4
"""Power that noises are measured by where nothing is said."""
_MOST_DIFFERENCE_DB = 10.0
"""The speech around a word is louder or fainter than it by up to this."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunningConfig:
    """Training on running sound: a causal body is judged at every frame, as a spotter is used."""

    scene_seconds: float = 3.0
    """Length of a training row; longer than the longest keyword by the body's window at best."""
    keyword_prob: float = 0.6
    """Share of scenes in which a keyword is said, in [0, 1]."""
    part_prob: float = 0.1
    """Share of scenes in which only the beginning or the end of one is said, in [0, 1]."""
    speech_prob: float = 0.6
    """Share of scenes with other speech around the keyword, or in its place; others are quiet."""
    babble_prob: float = 0.5
    """Share of scenes with up to five talkers in the background, as loud as noise is, in [0, 1]."""
    early_ms: int = 40
    """A keyword is to be told from so long before its end on, 0 or more; an end that was found by
    energy is that much in doubt."""
    late_ms: int = 280
    """And until so long after its end, 0 or more."""
    keyword_weight: float = 4.0
    """Of a frame that tells a keyword, where others weigh 1; positive."""
    focus: float = 2.0
    """A frame weighs (1 - p)^focus, p being the posterior of what it should say: the rare frames
    that are nearly mistaken decide what a spotter is worth. 0: all alike. Source: focal loss,
    arXiv:1708.02002."""

    def __post_init__(self) -> None:
        shares = (self.keyword_prob, self.part_prob, self.speech_prob, self.babble_prob)
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise ValueError(
                "keyword_prob, part_prob, speech_prob and babble_prob must lie in [0, 1], got "
                f"{shares}"
            )
        if self.keyword_prob + self.part_prob > 1.0:
            raise ValueError(
                "keyword_prob and part_prob share the scenes and must not exceed 1 together, got "
                f"{self.keyword_prob} + {self.part_prob}"
            )
        if min(self.early_ms, self.late_ms) < 0 or self.early_ms + self.late_ms == 0:
            raise ValueError(
                "early_ms and late_ms must be 0 or more, and not both 0, got "
                f"{self.early_ms}, {self.late_ms}"
            )
        if self.keyword_weight <= 0 or self.scene_seconds <= 0 or self.focus < 0:
            raise ValueError(
                "keyword_weight and scene_seconds must be positive and focus 0 or more, got "
                f"{self.keyword_weight}, {self.scene_seconds}, {self.focus}"
            )

    @property
    def scene_samples(self) -> int:
        """A row in samples."""
        return round(self.scene_seconds * SAMPLE_RATE)


@plain_dataclass(frozen=True)
class Scene:
    """A row to train on."""

    waveform: Waveform
    """(samples,) in [-1, 1]."""
    word: tuple[int, int] | None
    """First sample of its keyword and the one past its last; None: no keyword is said."""


@plain_dataclass(frozen=True)
class Stage:
    """All that scenes are made of, besides the words."""

    config: RunningConfig
    augment: AugmentConfig
    """How words, rooms and noises vary; shifts and leads are the scene's own matter."""
    speech: Speech
    around: Surroundings

    def scene(
        self, clip: Waveform, span: tuple[int, int], num_samples: int, rng: np.random.Generator
    ) -> Scene:
        """Put a word, a part of it or nothing into other sound.

        Args:
            clip: (samples,), a word with a little around it.
            span: where in it the word is.
            num_samples: of the scene.
            rng: the row's.
        """
        config, kind = self.config, rng.random()
        scene = self._background(num_samples, rng)
        word: tuple[int, int] | None = None
        if kind < config.keyword_prob:
            piece, word = _at_speed(clip, span, self.augment.max_speed_change, rng)
            word = _insert(scene, piece, word, rng)
        elif kind < config.keyword_prob + config.part_prob:
            _insert(scene, *_part_of(clip, span, rng), rng)
        return Scene(self._heard(scene, word, rng), word)

    def _background(self, num_samples: int, rng: np.random.Generator) -> Waveform:
        if rng.random() < self.config.speech_prob:
            return self.speech.stretch(num_samples, rng)
        return np.zeros(num_samples, dtype=np.float32)

    def _heard(
        self, scene: Waveform, word: tuple[int, int] | None, rng: np.random.Generator
    ) -> Waveform:
        """In a room, with noise and babble, from near or far."""
        augment = self.augment
        noises, rooms = self.around.noises, self.around.rooms
        if rooms and rng.random() < augment.room_prob:
            scene = in_room(scene, rooms[rng.integers(len(rooms))])
        power = mean_power(scene if word is None else scene[word[0] : word[1]]) or _QUIET
        floors = _floors()
        floor = stretch_of(floors[rng.integers(len(floors))], len(scene), rng)
        scene = mix_noise(scene, floor, rng.uniform(*_FLOOR_DB), power=power)
        if noises and rng.random() < augment.noise_prob:
            noise = stretch_of(noises[rng.integers(len(noises))], len(scene), rng)
            scene = mix_noise(scene, noise, self._snr_db(rng), power=power)
        if rng.random() < self.config.babble_prob:
            talkers = int(rng.integers(1, _MOST_TALKERS + 1))
            babble = sum(self.speech.stretch(len(scene), rng) for _ in range(talkers))
            scene = mix_noise(scene, np.asarray(babble), self._snr_db(rng), power=power)
        scene = scene * np.float32(_PEAK / max(float(np.abs(scene).max()), _PEAK))
        return gain(scene, -rng.uniform(0.0, augment.max_gain_db))

    def _snr_db(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(self.augment.lowest_snr_db, self.augment.highest_snr_db))


def frame_labels(
    scene: Scene, label: int, config: RunningConfig, *, hop_samples: int, window_samples: int
) -> NDArray[np.int64]:
    """What a model should say at each frame's end: (samples // hop_samples,).

    `NOTHING` until 0.4 of the keyword is said and from a window after its end on, `label` from
    `early_ms` before its end to `late_ms` after it, and in between `IGNORED`: whether a word that
    is nearly said is told does not matter.

    Args:
        scene: a row.
        label: its keyword's number.
        config: how long a keyword is to be told.
        hop_samples: of a frame.
        window_samples: how far back the model looks.
    """
    ends = np.arange(1, len(scene.waveform) // hop_samples + 1) * hop_samples
    wanted = np.full(len(ends), NOTHING, dtype=np.int64)
    if scene.word is not None:
        start, end = scene.word
        from_on = end - config.early_ms * SAMPLE_RATE // 1000
        until = end + config.late_ms * SAMPLE_RATE // 1000
        doubtful = min(start + 0.4 * (end - start), from_on)
        wanted[(ends > doubtful) & (ends < max(until, end + window_samples))] = IGNORED
        wanted[(ends >= from_on) & (ends <= until)] = label
    return wanted


@cache
def _floors() -> tuple[Waveform, ...]:
    """Noises of quiet rooms, half a minute of each; making one anew for each scene takes longer
    than all the rest of it."""
    rng = np.random.default_rng(0)
    return tuple(
        coloured_noise(30 * SAMPLE_RATE, slope, rng) for slope in (0.0, 0.5, 1.0, 1.5, 2.0)
    )


def _at_speed(
    clip: Waveform, span: tuple[int, int], most: float, rng: np.random.Generator
) -> tuple[Waveform, tuple[int, int]]:
    if not most:
        return clip, span
    speed = 1.0 + rng.uniform(-most, most)
    played = change_speed(clip, speed)
    start, end = (min(round(place / speed), len(played)) for place in span)
    return played, (start, end)


def _part_of(
    clip: Waveform, span: tuple[int, int], rng: np.random.Generator
) -> tuple[Waveform, tuple[int, int]]:
    """The clip up to a place within its word, or from there on."""
    start, end = span
    at = start + round(rng.uniform(*_PART_SHARES) * (end - start))
    return (clip[:at], (start, at)) if rng.random() < 0.5 else (clip[at:], (0, end - at))


def _insert(
    scene: Waveform, clip: Waveform, span: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Put a clip into a scene, with pauses before and after it; where its word is then.

    The word's end falls anywhere in the scene at which all of the word is in it.
    """
    start, end = span
    last = len(scene)
    word_end = int(rng.integers(min(end - start, last), last + 1))
    offset = word_end - end
    begin, stop = max(0, offset), min(last, offset + len(clip))
    piece = faded(clip[begin - offset : stop - offset])
    gaps = [int(rng.uniform(0.0, _MOST_GAP_S) * SAMPLE_RATE) for _ in range(2)]
    pause = slice(max(0, begin - gaps[0]), min(last, stop + gaps[1]))
    scene_power, word_power = mean_power(scene), mean_power(clip[start:end])
    if scene_power and word_power:
        ratio = 10.0 ** (rng.uniform(-_MOST_DIFFERENCE_DB, _MOST_DIFFERENCE_DB) / 20.0)
        scene *= np.float32(np.sqrt(word_power / scene_power) * ratio)
    quiet = np.ones(len(scene), dtype=np.float32)
    quiet[pause] = 1.0 - faded(np.ones(pause.stop - pause.start, dtype=np.float32))
    scene *= quiet
    scene[begin:stop] += piece
    return max(0, offset + start), word_end


def strongest(
    posteriors: NDArray[np.float32], lengths: Sequence[int], hop_samples: int
) -> NDArray[np.float32]:
    """What was heard in a recording as a whole: (rows, frames, labels) to (rows, labels).

    Each keyword's largest posterior; and nothing to the degree that the largest of them leaves.
    """
    heard = np.empty((len(posteriors), posteriors.shape[2]), dtype=np.float32)
    for row, (frames, length) in enumerate(zip(posteriors, lengths, strict=True)):
        heard[row] = frames[: max(1, length // hop_samples)].max(0)
    heard[:, NOTHING] = 1.0 - heard[:, NOTHING + 1 :].max(1)
    return heard
