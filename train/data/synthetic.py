"""A keyword corpus from nothing: words said by espeak-ng, in rooms, with noise."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from runtime.atomic import replacing_folder

from ..errors import DataError
from ..progress import track
from .acoustics import coloured_noise, in_a_room
from .augment import fit_length, mix_noise
from .cuts import PARTITIONS, SAMPLE_RATE, SILENCE, UNKNOWN
from .voices import ESPEAK_RATE, Speaker, Word

Waveform = NDArray[np.float32]

KEYWORDS = ("yes", "stop", "marvin", "left")
"""Words that espeak-ng's voices say unlike each other."""

FILLERS = (
    "table", "window", "seven", "water", "morning", "blue", "garden", "people", "music", "under",
    "right", "go",
)  # fmt: skip
"""Words that are no keywords."""

ACCENTS = (
    "en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd",
    "en-029", "en-us-nyc",
)  # fmt: skip

# Timbres without klatt synthesis, whose noise is drawn from the C library's global generator.
VARIANTS = {
    "train": (
        "f1", "f2", "f3", "f4", "m1", "m2", "m3", "m5", "m6", "m8", "Alex", "Andy", "Annie",
        "Lee", "belinda", "michel", "quincy", "steph", "zac", "victor",
    ),
    "valid": ("f5", "m4", "linda", "travis"),
    "test": ("m7", "aunty", "shelby", "boris"),
}  # fmt: skip
"""Timbres of each partition: no voice of one is heard in another, in any accent."""

_CLIP_SAMPLES = SAMPLE_RATE
_MARGIN_SAMPLES = SAMPLE_RATE // 100
_AUDIBLE = 0.02
"""Share of a word's peak below which its edges are silence."""
_COLUMNS = ("path", "label", "word", "speaker", "split", "duration")


@dataclass(frozen=True)
class _Clip:
    label: str
    word: str
    partition: str
    number: int
    """Counts all clips of the corpus; seeds this one."""


def voices(partition: str) -> list[str]:
    """espeak-ng's names of the voices of a partition."""
    return [f"{accent}+{variant}" for variant in VARIANTS[partition] for accent in ACCENTS]


def make_keyword_corpus(
    out: Path,
    *,
    keywords: Sequence[str] = KEYWORDS,
    fillers: Sequence[str] = FILLERS,
    clips_per_keyword: int = 400,
    clips_unknown: int = 600,
    clips_silence: int = 200,
    seed: int = 0,
    progress: bool = False,
) -> None:
    """Write a corpus of one-second clips with a manifest.csv.

    Eight tenths of each label's clips are `train`, one tenth each `valid` and `test`; voices are
    of one partition only. The same arguments give the same bytes.

    Args:
        out: the corpus' folder; appears when it is whole, and takes the place of an older one.
        keywords: labels; each is said as it is written.
        fillers: words that get the label `_unknown_`.
        clips_per_keyword: of each keyword.
        clips_unknown: of all fillers together, some of them cut off as a stream would.
        clips_silence: clips of noise alone, label `_silence_`.
        seed: 0 or more.
        progress: show a bar on standard error.

    Raises:
        DataError: espeakng-loader is missing, a keyword is also a filler or is there twice, fewer
            than ten clips of a label, or the folder cannot be written.
    """
    words = [*keywords, *fillers]
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice or not keywords or not fillers:
        problem = f"{', '.join(twice)} named twice" if twice else "keywords or fillers are missing"
        raise DataError(f"{problem}; give one or more of each, every word once")
    counts = (clips_per_keyword, clips_unknown, clips_silence)
    if min(counts) < 10:
        raise DataError(f"a label needs 10 clips or more for three partitions, got {min(counts)}")
    clips = list(_plan(keywords, fillers, *counts))
    try:
        with replacing_folder(out) as folder:
            _write(folder, clips, seed=seed, progress=progress)
    except (OSError, soundfile.SoundFileError) as fault:
        raise DataError(
            f"the corpus cannot be written to {out} ({fault}); make room or name another folder"
        ) from None


def say(
    speaker: Speaker, word: str | tuple[Word, ...], voice: str, rng: np.random.Generator
) -> Waveform:
    """A word, written or in sounds, at 16 kHz: its peak 1, trimmed, at a random rate and pitch."""
    import soxr

    waveform = speaker.speak(
        word,
        voice,
        rate=int(rng.integers(125, 216)),
        pitch=int(rng.integers(30, 71)),
        pitch_range=int(rng.integers(30, 81)),
    )
    resampled: Waveform = soxr.resample(waveform, ESPEAK_RATE, SAMPLE_RATE)
    return trimmed(resampled)


def trimmed(waveform: Waveform) -> Waveform:
    """What is audible of a sound at 16 kHz and 10 ms around it, with a peak of 1."""
    waveform = waveform / np.abs(waveform).max()
    audible = np.flatnonzero(np.abs(waveform) > _AUDIBLE)
    start = max(0, int(audible[0]) - _MARGIN_SAMPLES)
    return waveform[start : int(audible[-1]) + _MARGIN_SAMPLES]


def _plan(
    keywords: Sequence[str], fillers: Sequence[str], per_keyword: int, unknown: int, silence: int
) -> Iterator[_Clip]:
    wanted: list[tuple[str, tuple[str, ...], int]]
    wanted = [(word, (word,), per_keyword) for word in keywords]
    wanted += [(UNKNOWN, tuple(fillers), unknown), (SILENCE, ("",), silence)]
    number = 0
    for label, words, num_clips in wanted:
        held_out = num_clips // 10
        shares = {"train": num_clips - 2 * held_out, "valid": held_out, "test": held_out}
        for partition in PARTITIONS:
            for index in range(shares[partition]):
                yield _Clip(label, words[index % len(words)], partition, number)
                number += 1


def _write(folder: Path, clips: Sequence[_Clip], *, seed: int, progress: bool) -> None:
    speaker = Speaker(seed)
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as lines:
        manifest = csv.writer(lines, lineterminator="\n")
        manifest.writerow(_COLUMNS)
        for clip in track(clips, "making speech") if progress else clips:
            rng = np.random.default_rng([seed, clip.number])
            names = voices(clip.partition)
            voice = "" if clip.label == SILENCE else names[int(rng.integers(len(names)))]
            waveform = _render(speaker, clip, voice, rng)
            path = f"{clip.label}/{clip.partition}-{clip.number:05d}.wav"
            (folder / path).parent.mkdir(exist_ok=True)
            soundfile.write(folder / path, waveform, SAMPLE_RATE, subtype="PCM_16")
            manifest.writerow((path, clip.label, clip.word, voice, clip.partition, "1.000"))


def _render(speaker: Speaker, clip: _Clip, voice: str, rng: np.random.Generator) -> Waveform:
    """One second: a word somewhere in it, a room, a level, a noise."""
    noise = coloured_noise(_CLIP_SAMPLES, rng.uniform(0.0, 2.0), rng)
    if clip.label == SILENCE:
        return _limited(noise * np.float32(10.0 ** (rng.uniform(-80.0, -25.0) / 20.0)))
    word = say(speaker, clip.word, voice, rng)
    overhang = int(0.4 * len(word)) if clip.label == UNKNOWN else 0
    waveform = _placed(word, overhang, rng)
    if rng.random() < 0.7:
        waveform = in_a_room(
            waveform,
            decay_s=rng.uniform(0.05, 0.3),
            tail_db=rng.uniform(-20.0, -6.0),
            tilt=rng.uniform(-0.3, 0.3),
            rng=rng,
        )
    level = 10.0 ** (rng.uniform(-20.0, -2.0) / 20.0) / max(float(np.abs(waveform).max()), 1e-6)
    loud = (waveform * level).astype(np.float32)
    return _limited(mix_noise(loud, noise, snr_db=rng.uniform(10.0, 45.0)))


def _placed(word: Waveform, overhang: int, rng: np.random.Generator) -> Waveform:
    """Put a word somewhere into a second; up to `overhang` samples of it may fall off an end."""
    spare = _CLIP_SAMPLES - len(word)
    if spare + overhang < 0:
        return fit_length(word, _CLIP_SAMPLES)
    start = int(rng.integers(min(-overhang, 0), spare + overhang + 1))
    canvas = np.zeros(_CLIP_SAMPLES + 2 * len(word), dtype=np.float32)
    canvas[len(word) + start : 2 * len(word) + start] = word
    return canvas[len(word) : len(word) + _CLIP_SAMPLES]


def _limited(waveform: Waveform) -> Waveform:
    clipped: Waveform = np.clip(waveform, -1.0, 1.0).astype(np.float32)
    return clipped
