"""Synthetic talk without the keyword: common words and near misses, one after the other.

What is trained on needs it beside recordings of people: else every synthetic voice is the keyword.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from runtime.atomic import replacing_folder
from train.data.cuts import PARTITIONS, SAMPLE_RATE
from train.data.layouts import manifest
from train.data.voices import Word
from train.errors import DataError
from train.progress import track

from .chorus import Chorus
from .near_misses import LEAST_DISTANCE, NearMisses
from .surroundings import near_or_far
from .talkers import Talker, Waveform

RECORDING_S = 20.0
_SHARES = (0.7, 0.1, 0.2)
"""Of train, valid and test, in recordings; each has two at the least."""
_UTTERANCES = (2, 7)
"""Near misses or groups of words that are said in one breath."""
_PAUSES_S = (0.2, 0.9)


def make_talk(
    out: Path, chorus: Chorus, mistakes: Mapping[str, NearMisses], *, minutes: float, seed: int
) -> None:
    """Write recordings of some 20 s, a voice each, with a progress bar.

    Args:
        out: a corpus without labels; appears when it is whole.
        chorus: who talks.
        mistakes: what is said, by accent; nothing that could be taken for the keyword.
        minutes: of all partitions; voices are of one.
        seed: 0 or more.

    Raises:
        DataError: a voice fails, or the folder cannot be written.
    """
    count = round(minutes * 60.0 / RECORDING_S)
    plan = [
        (part, number)
        for part, share in zip(PARTITIONS, _SHARES, strict=True)
        for number in range(max(2, round(share * count)))
    ]
    try:
        with (
            replacing_folder(out) as folder,
            (folder / manifest.NAME).open("w", encoding="utf-8", newline="") as lines,
        ):
            rows = csv.writer(lines, lineterminator="\n")
            rows.writerow(("path", "speaker", "split", "duration"))
            for part, number in track(plan, "talking"):
                rng = np.random.default_rng([seed, PARTITIONS.index(part), number])
                talker, voice = chorus.draw(part, rng)
                waveform = _talk(talker, voice, mistakes[talker.accent_of(voice)], rng)
                path = f"{part}-{number:04d}.flac"
                soundfile.write(folder / path, waveform, SAMPLE_RATE, subtype="PCM_16")
                rows.writerow((path, voice, part, f"{len(waveform) / SAMPLE_RATE:.4f}"))
    except (OSError, soundfile.SoundFileError) as fault:
        raise DataError(
            f"talk cannot be written to {out} ({fault}); make room or name another folder"
        ) from None


def _talk(talker: Talker, voice: str, mistakes: NearMisses, rng: np.random.Generator) -> Waveform:
    pieces: list[Waveform] = []
    samples = 0
    while samples < RECORDING_S * SAMPLE_RATE:
        pause = np.zeros(int(rng.uniform(*_PAUSES_S) * SAMPLE_RATE), dtype=np.float32)
        pieces += [talker.say(_sentence(mistakes, rng), voice, rng), pause]
        samples += len(pieces[-2]) + len(pause)
    return near_or_far(np.concatenate(pieces), rng)


def _sentence(mistakes: NearMisses, rng: np.random.Generator) -> tuple[Word, ...]:
    """Things that are near the keyword only if all of it is not in them together either."""
    said: tuple[Word, ...] = ()
    for _ in range(int(rng.integers(*_UTTERANCES))):
        longer = said + mistakes.draw(rng).words
        # "hey" of one near miss before "otter" of the next would be the keyword.
        if mistakes.distance(longer) >= LEAST_DISTANCE:
            said = longer
    return said
