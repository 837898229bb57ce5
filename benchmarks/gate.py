"""How often does the voice-activity gate lose a word? Real words in noise, no model needed.

    python benchmarks/gate.py --data ../shared/data --words 300
    python benchmarks/gate.py --data ../shared/data --words 300 --bundle keywords.bundle

Each word is put, a second or more after the last, into a noise of its own at a stated
signal-to-noise ratio (word's mean power where it is within 20 dB of its peak, over the noise's
mean). Told are: words in which the gate never opened; onsets that lie before the gate's pre-roll;
and the share of the noise, words apart, in which the gate was open, as a gate that is always open
loses nothing. With a bundle, keywords heard with the gate and without it are counted too.
"""

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from runtime import Event, Model, load
from runtime.gate import PRE_ROLL_S, SpeechGate

RATE_HZ = 16_000
HOP_SAMPLES = 1_280
HOLD_HOPS = 17
"""Of a model with a window of 1 s, the mean of 3 answers and a patience of 1."""
LEAD_S, TAIL_S = 5.0, 3.0
"""Noise before a word and after it: the floor's memory, and the time that the gate stays open."""
SNRS_DB = (20, 10, 5, 0, -5)
NOISES = ("white_noise", "pink_noise", "running_tap", "exercise_bike", "doing_the_dishes")
Waveform = NDArray[np.float32]
Row = dict[str, Any]


@dataclass(frozen=True)
class Word:
    """A recording of one word, and where in it the word is, in samples."""

    label: str
    waveform: Waveform
    start: int
    end: int


def main() -> None:
    """Print a row for each noise and ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of data sets")
    parser.add_argument("--words", type=int, default=300, help="recordings of words (default: 300)")
    parser.add_argument("--bundle", type=Path, help="a bundle to hear them with and without gate")
    parser.add_argument("--json", action="store_true", help="an object a row")
    options = parser.parse_args()
    words = read_words(options.data / "speech_commands", options.words)
    model = None if options.bundle is None else load(options.bundle)
    for name, snr_db, noise in conditions(options.data / "noise_rir" / "gsc_background_noise"):
        row = {"noise": name, "snr_db": snr_db, **measured(words, noise, snr_db, model)}
        if options.json:
            print(json.dumps(row), flush=True)
        else:
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def read_words(folder: Path, num_words: int) -> list[Word]:
    """Of the test split, in an order that a seed gives; noise and silence are left out."""
    with (folder / "manifest.csv").open(newline="") as handle:
        rows = [
            row
            for row in csv.DictReader(handle)
            if row["split"] == "test" and row["word"] != "_silence_"
        ]
    order = np.random.default_rng(0).permutation(len(rows))
    words = []
    for row in (rows[index] for index in order):
        word = located(row["label"], read(folder / row["path"]))
        if word is not None:
            words.append(word)
        if len(words) == num_words:
            break
    return words


def read(path: Path) -> Waveform:
    """One channel at 16 kHz."""
    waveform, rate_hz = soundfile.read(path, dtype="float32")
    if rate_hz != RATE_HZ or waveform.ndim != 1:
        raise SystemExit(f"{path}: wanted one channel at {RATE_HZ} Hz, got {rate_hz} Hz")
    return np.asarray(waveform)


def located(label: str, waveform: Waveform) -> Word | None:
    """From the first to the last frame within 20 dB of the loudest; None where that is all."""
    frames = waveform[: len(waveform) // 160 * 160].reshape(-1, 160)
    powers = (frames**2).mean(axis=1)
    loud = np.flatnonzero(powers > 0.01 * powers.max())
    if not powers.max() > 1e-6 or len(loud) > 0.9 * len(frames):
        return None  # empty, or a recording so noisy that nobody can say where its word is
    return Word(label, waveform, 160 * int(loud[0]), 160 * int(loud[-1] + 1))


def conditions(folder: Path) -> Iterator[tuple[str, int | None, Waveform]]:
    """Digital silence, then every noise at every ratio."""
    yield "digital silence", None, np.zeros(RATE_HZ, dtype=np.float32)
    for name in NOISES:
        noise = read(folder / f"{name}.opus")
        for snr_db in SNRS_DB:
            yield name, snr_db, noise


def measured(words: list[Word], noise: Waveform, snr_db: int | None, model: Model | None) -> Row:
    """What the gate does to words in one noise."""
    rng = np.random.default_rng(1)
    lost = late = open_hops = noise_hops = 0
    heard = {True: 0, False: 0}
    for word in words:
        recording, start = placed(word, noise, snr_db, rng)
        opened = opened_hops(recording)
        ends = HOP_SAMPLES * np.arange(1, len(opened) + 1)
        within = (ends > start + word.start) & (ends - HOP_SAMPLES < start + word.end)
        lost += not opened[within].any()
        first = ends[within & opened][:1] - HOP_SAMPLES
        late += bool((first > start + word.start + PRE_ROLL_S * RATE_HZ).any())
        settled = (ends > LEAD_S * RATE_HZ / 2) & (ends < start)
        open_hops += int(opened[settled].sum())
        noise_hops += int(settled.sum())
        if model is not None:
            for gate in heard:
                heard[gate] += word.label in {
                    event.label for event in events(model, recording, gate)
                }
    row = {
        "words": len(words),
        "lost": lost,
        "late_onset": late,
        "open_in_noise": round(open_hops / noise_hops, 3),
    }
    if model is not None:
        row |= {"heard_with_gate": heard[True], "heard_without": heard[False]}
    return row


def placed(
    word: Word, noise: Waveform, snr_db: int | None, rng: np.random.Generator
) -> tuple[Waveform, int]:
    """The word amid a cut of the noise, and the sample at which its recording starts."""
    lead, tail = round(LEAD_S * RATE_HZ), round(TAIL_S * RATE_HZ)
    num_samples = lead + len(word.waveform) + tail
    offset = int(rng.integers(0, max(1, len(noise) - num_samples)))
    recording = np.resize(noise[offset : offset + num_samples], num_samples).copy()
    if snr_db is not None:
        spoken = word.waveform[word.start : word.end]
        wanted = np.mean(spoken**2) / 10 ** (snr_db / 10)
        recording *= np.sqrt(wanted / np.mean(recording**2))
    # What lies around the word in its own recording is noise of another place: it is faded out.
    faded = word.waveform * np.interp(
        np.arange(len(word.waveform)),
        [word.start - 1600, word.start, word.end, word.end + 1600],
        [0.0, 1.0, 1.0, 0.0],
    ).astype(np.float32)
    recording[lead : lead + len(faded)] += faded
    return recording, lead


def opened_hops(recording: Waveform) -> NDArray[np.bool_]:
    """Of every hop, whether the gate was open."""
    gate = SpeechGate(HOP_SAMPLES, RATE_HZ, HOLD_HOPS)
    hops = recording[: len(recording) // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES)
    return np.array([gate.hears(hop, at_rest=True) for hop in hops])


def events(model: Model, recording: Waveform, gate: bool) -> list[Event]:
    """All that a stream gives."""
    stream = model.stream(gate=gate)
    return [*stream.push(recording), *stream.flush()]


if __name__ == "__main__":
    main()
