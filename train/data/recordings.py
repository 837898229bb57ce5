"""Running recordings with known words at known times, to stream through a finished model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from runtime.atomic import replacing_file

from ..errors import DataError
from .acoustics import coloured_noise
from .audio import PackedAudio
from .cuts import SAMPLE_RATE, UNKNOWN, label_of
from .synthetic import FILLERS, KEYWORDS, say, voices
from .voices import Speaker

if TYPE_CHECKING:
    from lhotse import CutSet

Waveform = NDArray[np.float32]

_EDGE_S = 1.0
"""Noise alone before the first word and after the last."""
_GAPS_S = (0.5, 1.2)
_FADE_SAMPLES = SAMPLE_RATE // 50
_NOISE_DB = -55.0
_PEAK = 0.5


class Spoken(NamedTuple):
    """A word of a recording."""

    label: str
    """A keyword, or `_unknown_`."""
    start_s: float
    end_s: float
    """Of the word where it was synthesized, of its clip where it was recorded."""


def make_test_recording(
    out_wav: Path,
    *,
    words: Sequence[str] = KEYWORDS * 2,
    fillers: Sequence[str] = FILLERS[:5],
    voice: str | None = None,
    seed: int = 0,
) -> list[Spoken]:
    """Say words and fillers in a random order, with pauses, over low noise.

    Args:
        out_wav: 16 kHz, 16 bits; the truth goes beside it, ending in .json.
        words: keywords to say; one may be there several times.
        fillers: words to say between them, `_unknown_` in the truth.
        voice: of espeak-ng; None: one of the test partition, which no model was trained on.
        seed: 0 or more; the same arguments give the same bytes.

    Returns:
        The truth, in the order of time.

    Raises:
        DataError: espeakng-loader is missing, an unknown voice, or the disk is full.
    """
    rng = np.random.default_rng([seed, len(words), len(fillers)])
    if voice is None:
        voice = str(rng.choice(voices("test")))
    speaker = Speaker(seed)
    said = [*((word, word) for word in words), *((word, UNKNOWN) for word in fillers)]
    clips = [
        (label, say(speaker, word, voice, rng) * np.float32(_PEAK))
        for word, label in (said[index] for index in rng.permutation(len(said)))
    ]
    return _write(out_wav, clips, noise_level=10.0 ** (_NOISE_DB / 20.0), rng=rng)


def join_recordings(
    packed: PackedAudio, cuts: CutSet, out_wav: Path, *, labels: Sequence[str], seed: int = 0
) -> list[Spoken]:
    """Join clips of a corpus in a random order, with pauses of noise as loud as their own.

    Args:
        packed: the audio of the cuts.
        cuts: where to choose from; give the test partition.
        out_wav: 16 kHz, 16 bits; the truth goes beside it, ending in .json.
        labels: of the clips to join; one that is there twice gets two clips.
        seed: 0 or more; of the choice, the order and the pauses.

    Returns:
        The truth, in the order of time; its times are the clips'.

    Raises:
        DataError: fewer clips of a label than asked for, or the disk is full.
    """
    rng = np.random.default_rng([seed, len(labels)])
    by_label: dict[str, list[str]] = {}
    for cut in cuts:
        by_label.setdefault(label_of(cut), []).append(str(cut.id))
    chosen: list[tuple[str, str]] = []
    for label in dict.fromkeys(labels):
        there, wanted = by_label.get(label, []), list(labels).count(label)
        if len(there) < wanted:
            raise DataError(
                f"{wanted} clips of {label!r} are wanted and the set has {len(there)}; it has "
                f"{', '.join(sorted(by_label)) or 'nothing'}: choose among these, or ask for fewer"
            )
        chosen += [(label, str(cut_id)) for cut_id in rng.choice(there, wanted, replace=False)]
    clips = [
        (chosen[index][0], _faded(packed.waveform(chosen[index][1])))
        for index in rng.permutation(len(chosen))
    ]
    floors = [_noise_floor(clip) for _, clip in clips] or [0.0]
    return _write(out_wav, clips, noise_level=float(np.median(floors)), rng=rng)


def read_truth(recording: Path) -> list[Spoken]:
    """The words of a recording, from the .json beside it.

    Raises:
        DataError: it is not there, or is no truth.
    """
    path = recording.with_suffix(".json")
    try:
        words = json.loads(path.read_text(encoding="utf-8"))["words"]
        return [
            Spoken(str(word["label"]), float(word["start_s"]), float(word["end_s"]))
            for word in words
        ]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DataError(
            f"{path} holds no truth of {recording.name} ({fault}); make the recording again"
        ) from None


def _write(
    out_wav: Path,
    clips: Sequence[tuple[str, Waveform]],
    *,
    noise_level: float,
    rng: np.random.Generator,
) -> list[Spoken]:
    position = round(_EDGE_S * SAMPLE_RATE)
    places = []
    for _, clip in clips:
        places.append(position)
        position += len(clip) + round(rng.uniform(*_GAPS_S) * SAMPLE_RATE)
    total = position + round(_EDGE_S * SAMPLE_RATE)
    waveform = coloured_noise(total, 1.0, rng) * np.float32(noise_level)
    truth = []
    for (label, clip), place in zip(clips, places, strict=True):
        waveform[place : place + len(clip)] += clip
        start_s, end_s = place / SAMPLE_RATE, (place + len(clip)) / SAMPLE_RATE
        truth.append(Spoken(label, round(start_s, 4), round(end_s, 4)))
    record = {"sample_rate": SAMPLE_RATE, "words": [word._asdict() for word in truth]}
    try:
        with (
            replacing_file(out_wav) as audio,
            replacing_file(out_wav.with_suffix(".json")) as text,
        ):
            soundfile.write(
                audio, np.clip(waveform, -1.0, 1.0), SAMPLE_RATE, "PCM_16", format="WAV"
            )
            text.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except (OSError, soundfile.SoundFileError) as fault:
        raise DataError(
            f"the recording cannot be written to {out_wav} ({fault}); make room or name another "
            "place"
        ) from None
    return truth


def _faded(clip: Waveform) -> Waveform:
    """Without a click where the clip starts and ends."""
    ramp = np.ones(len(clip), dtype=np.float32)
    fade = min(_FADE_SAMPLES, len(clip) // 2)
    ramp[:fade] = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    ramp[len(clip) - fade :] = ramp[:fade][::-1]
    return clip * ramp


def _noise_floor(clip: Waveform) -> float:
    """Root mean square of the clip's quiet tenth, in frames of 20 ms."""
    num_frames = max(1, len(clip) // _FADE_SAMPLES)
    frames = clip[: num_frames * _FADE_SAMPLES].reshape(num_frames, -1)
    levels = np.sqrt(np.mean(np.square(frames), axis=1))
    return float(np.quantile(levels, 0.1))
