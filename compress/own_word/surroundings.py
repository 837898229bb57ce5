"""Quiet rooms that clips are heard in, and a folder of noises and rooms for who has none."""

import csv
from pathlib import Path

import numpy as np
import soundfile

from runtime.atomic import replacing_folder
from train.data.acoustics import coloured_noise, in_a_room
from train.data.augment import mix_noise
from train.data.cuts import SAMPLE_RATE
from train.data.layouts import manifest
from train.data.rooms import NOISE, ROOM
from train.errors import DataError

from .talkers import Waveform

_NUM_EACH = 12
_NOISE_S = 10
_ROOM_S = 0.5
_BLOCK = 1024
"""Noise is made in lengths with small factors: others take the transform several times as long."""


def near_or_far(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    """Over the noise of a quiet room, at a peak of -20 to -2 dB."""
    samples = -(-len(waveform) // _BLOCK) * _BLOCK
    noise = coloured_noise(samples, rng.uniform(0.0, 2.0), rng)[: len(waveform)]
    noisy = mix_noise(waveform, noise, rng.uniform(25.0, 55.0))
    return at_peak(noisy, rng.uniform(-20.0, -2.0))


def at_peak(waveform: Waveform, peak_db: float) -> Waveform:
    """So loud that the largest sample has this level."""
    level = 10.0 ** (peak_db / 20.0) / max(float(np.abs(waveform).max()), 1e-6)
    scaled: Waveform = (waveform * level).astype(np.float32)
    return scaled


def make_surroundings(out: Path, seed: int) -> None:
    """Write noises of several colours that swell and fade, and responses of rooms, all to train on.

    Raises:
        DataError: the folder cannot be written.
    """
    rng = np.random.default_rng([seed, _NUM_EACH])
    try:
        with (
            replacing_folder(out) as folder,
            (folder / manifest.NAME).open("w", encoding="utf-8", newline="") as lines,
        ):
            rows = csv.writer(lines, lineterminator="\n")
            rows.writerow(("path", "label", "split"))
            for number in range(_NUM_EACH):
                for label, sound in ((NOISE, _noise(rng)), (ROOM, _room(rng))):
                    path = f"{label}-{number:02d}.wav"
                    soundfile.write(folder / path, at_peak(sound, -3.0), SAMPLE_RATE, "PCM_16")
                    rows.writerow((path, label, "train"))
    except (OSError, soundfile.SoundFileError) as fault:
        raise DataError(
            f"noises cannot be written to {out} ({fault}); make room or name another folder"
        ) from None


def _noise(rng: np.random.Generator) -> Waveform:
    samples = _NOISE_S * SAMPLE_RATE
    level_db = rng.uniform(-15.0, 0.0, 2 * _NOISE_S + 1)  # twice a second, and between them even
    places = np.linspace(0.0, len(level_db) - 1.0, samples)
    swell = 10.0 ** (np.interp(places, np.arange(len(level_db)), level_db) / 20.0)
    return coloured_noise(samples, rng.uniform(0.0, 2.0), rng) * swell.astype(np.float32)


def _room(rng: np.random.Generator) -> Waveform:
    pulse = np.zeros(int(_ROOM_S * SAMPLE_RATE), dtype=np.float32)
    pulse[0] = 1.0
    return in_a_room(
        pulse,
        decay_s=rng.uniform(0.1, _ROOM_S),
        tail_db=rng.uniform(-12.0, 0.0),
        tilt=rng.uniform(-0.2, 0.2),
        rng=rng,
    )
