"""How good are typed keywords, and what do they cost? Of words that were learned, and not.

    compress export otolite-phones --out phones.bundle
    python benchmarks/typed_keywords.py phones.bundle --data ../shared/data

Told are, in this order:
- misses of the four wake words of wake_words_picovoice (test clips, in quiet) at numbers of false
  alarms in all of librispeech_excerpt, each keyword alone, at a threshold of its own. The phone
  model that ships has learned from the texts of the training clips.
- misses of words and phrases of LibriSpeech's test-other, which it has not: each is looked for in
  all utterances of the excerpt whose text is known, and told where its score reaches the threshold
  that gives a rate of false alarms an hour and keyword, one threshold for all of a length. Peaks
  half a second apart are two alarms.
- CPU seconds for a second of audio, phones alone and with keywords, as a median of runs in turns.
"""

import argparse
import csv
import statistics
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.detection.det import (
    between_peaks,
    choice_within,
    count_alarms,
    count_hits,
    even_thresholds,
)
from compress.detection.evaluation import CLEAN, pieces_of
from compress.detection.hearing import hear
from compress.detection.negatives import Negatives, Piece, read_negatives
from compress.detection.said import read_said
from compress.detection.scenes import Sounds
from compress.typed_keywords import MOST_WAYS, pronunciations
from runtime.bundle import Bundle, read_bundle
from runtime.phone_stream import PhoneStream
from runtime.phrases.asked import Keywords, asking_for
from runtime.stream import start
from train.data.lexicon import Lexicon

RATE = 16_000
WAKE_WORDS = ("alexa", "computer", "smart mirror", "snowboy")
ALARMS = (0, 1, 5)
RATES_PER_HOUR = (0.5, 1.0, 5.0)
LENGTHS = ((4, 5), (6, 7), (8, 20))
"""Phones of a word."""
MOST_WORDS = 150
COMMANDS = (
    "turn on the lights", "turn off the lights", "open the window", "close the window",
    "play some music", "stop the music", "volume up", "volume down", "what time is it",
    "set a timer", "good morning", "good night", "call my mother", "next song", "previous song",
    "start the washing machine", "make it warmer", "make it colder", "lock the front door",
    "hey computer",
)  # fmt: skip
BLOCK_SAMPLES = 1280
RUNS = 5


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="of phones")
    parser.add_argument("--data", type=Path, required=True, help="the folder of data sets")
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    read = options.data / "librispeech_excerpt"
    wake_words(bundle, options.data / "wake_words_picovoice", read)
    never_learned(bundle, read)
    cost(bundle, read)


def asked(bundle: Bundle, keywords: Keywords) -> Bundle:
    return replace(bundle, manifest=asking_for(bundle.manifest, keywords))


def wake_words(bundle: Bundle, clips: Path, read: Path) -> None:
    """Misses at numbers of false alarms."""
    bundle = asked(bundle, pronunciations(WAKE_WORDS))
    decision = bundle.manifest.keyword_decision
    parts = [read_negatives(read, WAKE_WORDS, testing=testing) for testing in (True, False)]
    everything = Negatives(tuple(piece for part in parts for piece in part.pieces), (), 0)
    traces = [trace for trace, _ in hear(bundle, pieces_of(everything, RATE), "negatives")]
    said = read_said(clips, WAKE_WORDS, partition="test")
    scenes = said.scenes(said.keywords, CLEAN, Sounds(), sample_rate=RATE, tail_s=1.0, seed=0)
    streams = hear(bundle, scenes, "words")
    totals: Counter[int] = Counter()
    for number, word in enumerate(WAKE_WORDS):
        peaks = between_peaks(traces, number, num_peaks=40)
        thresholds = np.unique(np.concatenate([even_thresholds(), peaks]))
        alone = np.ones((len(thresholds), len(WAKE_WORDS)))
        alone[:, number] = thresholds
        alarms = count_alarms(traces, alone, decision, sample_rate=RATE).counts[:, number]
        hits = count_hits(streams, alone, decision, tolerance_samples=RATE)
        for allowed in ALARMS:
            choice = choice_within(alarms, allowed)
            assert choice is not None
            missed, words = int(hits.misses[choice, number]), int(hits.words[number])
            totals[allowed] += missed
            print(
                f"{word:<13} {allowed} alarms in {everything.hours:.2f} h: misses "
                f"{missed}/{words} = {missed / words:.1%} at {thresholds[choice]:.2f}"
            )
    for allowed in ALARMS:
        rate = totals[allowed] / len(said.keywords)
        print(f"all, {allowed} alarms each: {totals[allowed]}/{len(said.keywords)} = {rate:.1%}")


def never_learned(bundle: Bundle, read: Path) -> None:
    """Misses of words and phrases that LibriSpeech's readers say."""
    with (read / "manifest.csv").open(encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["text"]]
    texts = [f" {row['text'].casefold()} " for row in rows]
    pieces = [Piece(read / row["path"], 0.0, float(row["duration"])) for row in rows]
    rng = np.random.default_rng(0)
    phones = {word: len(Lexicon().phones(word)) for text in texts for word in text.split()}
    said_by = Counter(word for text in texts for word in set(text.split()))
    for least, most in LENGTHS:
        words = sorted(w for w in said_by if least <= phones[w] <= most and said_by[w] <= 2)
        chosen = [words[number] for number in rng.permutation(len(words))[:MOST_WORDS]]
        _misses(f"words of {least} to {most} phones", bundle, chosen, texts, pieces)
    fours = []
    for words in map(str.split, texts):
        first = int(rng.integers(0, max(1, len(words) - 3)))
        fours.append(" ".join(words[first : first + 4]))
    _misses("four words in a row", bundle, sorted(set(fours)), texts, pieces)


def _misses(
    what: str, bundle: Bundle, keywords: list[str], texts: list[str], pieces: list[Piece]
) -> None:
    ways = {word: Lexicon().ways(word, most=MOST_WAYS) for word in keywords}
    sources = pieces_of(Negatives(tuple(pieces), (), 0), RATE)
    scores = [trace.scores for trace, _ in hear(asked(bundle, ways), sources, what)]
    holds = np.array([[f" {word} " in text for word in keywords] for text in texts])
    highest = np.array([of_one.max(axis=0) for of_one in scores])
    frames = round(0.5 * RATE / bundle.manifest.frame_samples)
    alarms = [
        peak
        for text, word in zip(*np.nonzero(~holds), strict=True)
        for peak in _peaks(scores[text][:, word], frames)
    ]
    alarms.sort(reverse=True)
    seconds = np.array([piece.duration_s for piece in pieces])
    hours = float((~holds * seconds[:, None]).sum()) / 3600.0
    print(f"{what}: {len(keywords)} keywords, said {holds.sum()} times, {hours:.0f} keyword hours")
    for rate in RATES_PER_HOUR:
        threshold = alarms[int(rate * hours)]
        missed = float(np.mean(highest[holds] <= threshold))
        print(f"  {rate:g} an hour and keyword: misses {missed:.1%} at {threshold:.2f}")


def _peaks(scores: NDArray[np.float64], frames: int, least: float = 0.05) -> list[float]:
    """Each highest score left, and all within some frames of it gone with it."""
    left, found = scores.copy(), []
    while left.max() > least:
        place = int(left.argmax())
        found.append(float(left[place]))
        left[max(0, place - frames // 2) : place + frames // 2 + 1] = 0.0
    return found


def cost(bundle: Bundle, read: Path) -> None:
    """CPU of a stream without its gate, two minutes of speech in blocks of 80 ms."""
    pieces = read_negatives(read, [], testing=True).pieces
    speech = np.concatenate([piece.read(RATE) for piece in pieces])[: 120 * RATE]
    model = start(bundle)
    kinds = {"phones alone": partial(PhoneStream, model)}
    for number in (1, len(COMMANDS)):
        found = pronunciations(COMMANDS[:number])
        listening = replace(model, manifest=asking_for(model.manifest, found))
        name = f"{number} keywords in {sum(map(len, found.values()))} ways"
        kinds[name] = partial(listening.stream, gate=False)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(RUNS):
        for name, kind in kinds.items():
            stream, began = kind(), time.process_time()
            for first in range(0, len(speech), BLOCK_SAMPLES):
                stream.push(speech[first : first + BLOCK_SAMPLES])
            times[name].append((time.process_time() - began) / (len(speech) / RATE))
    for name, seconds in times.items():
        print(f"{name}: {statistics.median(seconds):.5f} s of CPU a second (to {max(seconds):.5f})")


if __name__ == "__main__":
    main()
