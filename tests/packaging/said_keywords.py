"""A recording in which a bundle's keywords are said, made when it is wanted."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from runtime import Model, listen
from runtime.resample import resample
from train.data.audio import decode, to_int16
from train.data.spoken import spoken_text
from train.data.voices import speak

Waveform = NDArray[np.float32]

VOICES = ("en", "en-us", "en-gb-x-rp", "en-us+m3", "en-us+f3", "en-gb-x-rp+m7")
MOST_CLIPS = 20
"""Of a keyword that are tried."""
_PAUSE_S = 2.0


def write_keywords(out: Path, model: Model, clips: Path | None = None) -> tuple[str, ...]:
    """Write a WAV that says each keyword once, by the first voice or clip that the model hears.

    Once, because the demo starts no command again that still runs. How well the model hears is no
    question here.

    Args:
        out: the recording, mono of 16 bits at the model's rate.
        model: listens for the keywords.
        clips: holds recordings of every keyword in a folder of its label; None: espeak-ng's voices.

    Returns:
        the keywords that are said: of the others, no voice or clip is heard.

    Raises:
        DataError: a clip cannot be decoded, or espeak-ng is missing.
    """
    # Whole hops, and pauses in which the last word is forgotten: each is heard as it was alone.
    rate_hz, hop_samples = model.sample_rate, model.manifest.streaming.hop_samples
    pause = np.zeros(round(_PAUSE_S * rate_hz / hop_samples) * hop_samples, dtype=np.int16)
    said = {}
    for keyword in model.manifest.decision.keywords:
        tried = _voices(keyword, rate_hz) if clips is None else _clips(clips / keyword, rate_hz)
        for waveform in islice(tried, MOST_CLIPS):
            word = to_int16(np.pad(waveform, (0, -len(waveform) % hop_samples)))
            if [event.label for event in listen(model, [pause, word, pause])] == [keyword]:
                said[keyword] = word
                break
    parts = [pause, *(part for word in said.values() for part in (word, pause))]
    soundfile.write(out, np.concatenate(parts), rate_hz, subtype="PCM_16")
    return tuple(said)


def _voices(keyword: str, sample_rate: int) -> Iterator[Waveform]:
    for voice in VOICES:
        waveform, rate_hz = speak(spoken_text(keyword), voice)
        yield resample(waveform, rate_hz, sample_rate)


def _clips(folder: Path, sample_rate: int) -> Iterator[Waveform]:
    return (decode(path, sample_rate) for path in sorted(folder.glob("*.*")))
