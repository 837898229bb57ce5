"""The keyword and its near misses, said by many voices: a labelled corpus to train and test on."""

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from runtime.atomic import replacing_folder
from train.data import phones
from train.data.acoustics import in_a_room
from train.data.augment import change_speed
from train.data.cuts import PARTITIONS, SAMPLE_RATE, UNKNOWN
from train.data.layouts import manifest
from train.errors import DataError
from train.progress import track

from .chorus import Chorus
from .near_misses import NearMisses
from .phrase import Phrase
from .surroundings import at_peak, near_or_far
from .takes import Take, Takes
from .talkers import Said, Waveform

OWN = "own"
"""Speaker of the user's takes, and the folder they lie in."""

_COLUMNS = ("path", "label", "word", "kind", "speaker", "split", "duration")
_MARGIN_S = (0.1, 0.3)
_ROOM_PROB = 0.5
_OWN_SHARE = 0.15
"""Of the keyword's clips to train on, the user's takes; each is heard at several speeds."""
_MOST_COPIES = 40
_MOST_SPEED_CHANGE = 0.1


@dataclass(frozen=True)
class _Row:
    path: str
    label: str
    word: str
    kind: str
    speaker: str
    partition: str


class _Clips:
    """A folder of clips with its manifest and, for keywords, their places."""

    def __init__(self, folder: Path, rows: Any, places: list[str]) -> None:
        self._folder, self._rows, self._places = folder, rows, places

    def add(self, row: _Row, waveform: Waveform, span: tuple[int, int]) -> None:
        """Write one."""
        path = self._folder / row.path
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")
        seconds = f"{len(waveform) / SAMPLE_RATE:.4f}"
        self._rows.writerow(
            (row.path, row.label, row.word, row.kind, row.speaker, row.partition, seconds)
        )
        if row.label != UNKNOWN:
            start, end = (place / SAMPLE_RATE for place in span)
            place = [row.word, round(start, 4), round(end - start, 4)]
            self._places.append(json.dumps({"path": row.path, "phones": [place]}))


def make_word_corpus(
    out: Path,
    phrase: Phrase,
    chorus: Chorus,
    mistakes: Mapping[str, NearMisses],
    *,
    takes: Takes,
    num_clips: int,
    num_near_misses: int,
    seed: int,
) -> None:
    """Write clips of the keyword and of what sounds like it, with a progress bar.

    Eight tenths of each are `train`, one tenth each `valid` and `test`; no voice of one partition
    is heard in another. Near misses have the label `_unknown_`. phones.jsonl tells where in its
    clip a keyword is. With espeak-ng alone, the same arguments give the same bytes.

    Args:
        out: the corpus' folder; appears when it is whole.
        phrase: the keyword.
        chorus: who says it.
        mistakes: what sounds like it, by accent.
        takes: the user's own.
        num_clips: of the keyword, 10 or more, the takes not counted.
        num_near_misses: 10 or more.
        seed: 0 or more.

    Raises:
        CompressError: nothing is found that is near the keyword and not the keyword.
        DataError: a voice fails, or the folder cannot be written.
    """
    plan = [*_plan("keyword", num_clips), *_plan("near", num_near_misses)]
    try:
        with replacing_folder(out) as folder, _clips(folder) as clips:
            for number, (folder_name, partition) in enumerate(track(plan, "saying it")):
                rng = np.random.default_rng([seed, number])
                talker, voice = chorus.draw(partition, rng)
                path = f"{folder_name}/{partition}-{number:05d}.flac"
                said: Said = phrase.text
                row = _Row(path, phrase.text, phrase.text, "keyword", voice, partition)
                if folder_name == "near":
                    miss = mistakes[talker.accent_of(voice)].draw(rng)
                    said, row = miss.words, _Row(
                        path, UNKNOWN, miss.ipa, miss.kind, voice, partition
                    )  # fmt: skip
                clips.add(row, *_in_a_clip(talker.say(said, voice, rng), rng))
            _add_takes(clips, phrase.text, takes, num_clips, seed)
    except (OSError, soundfile.SoundFileError) as fault:
        raise DataError(
            f"the clips cannot be written to {out} ({fault}); make room or name another folder"
        ) from None


@contextmanager
def _clips(folder: Path) -> Iterator[_Clips]:
    places: list[str] = []
    with (folder / manifest.NAME).open("w", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines, lineterminator="\n")
        rows.writerow(_COLUMNS)
        yield _Clips(folder, rows, places)
    (folder / phones.NAME).write_text("\n".join(places) + "\n", encoding="utf-8")


def _plan(folder_name: str, num_clips: int) -> list[tuple[str, str]]:
    held_out = num_clips // 10
    shares = dict(zip(PARTITIONS, (num_clips - 2 * held_out, held_out, held_out), strict=True))
    return [(folder_name, part) for part, count in shares.items() for _ in range(count)]


def _in_a_clip(word: Waveform, rng: np.random.Generator) -> tuple[Waveform, tuple[int, int]]:
    """A word with quiet around it, near or far, half of the time in a small room; and its place."""
    before, after = (int(rng.uniform(*_MARGIN_S) * SAMPLE_RATE) for _ in range(2))
    clip = np.pad(word, (before, after)).astype(np.float32)
    if rng.random() < _ROOM_PROB:
        clip = in_a_room(
            clip,
            decay_s=rng.uniform(0.05, 0.3),
            tail_db=rng.uniform(-20.0, -6.0),
            tilt=rng.uniform(-0.3, 0.3),
            rng=rng,
        )
    return near_or_far(clip, rng), (before, before + len(word))


def _add_takes(clips: _Clips, text: str, takes: Takes, num_clips: int, seed: int) -> None:
    """Those to train on at several speeds and levels, those to test on as they are."""
    copies = 0
    if takes.train:
        wanted = _OWN_SHARE / (1.0 - _OWN_SHARE) * 0.8 * num_clips / len(takes.train)
        copies = min(_MOST_COPIES, max(1, round(wanted)))
    for number, take in enumerate(takes.train):
        for copy in range(copies):
            rng = np.random.default_rng([seed, number, copy, 1])
            row = _Row(f"{OWN}/{number:02d}-{copy:02d}.flac", text, text, OWN, OWN, "train")
            clips.add(row, *_played(take, rng))
    for number, take in enumerate(takes.test):
        row = _Row(f"{OWN}/test-{number:02d}.flac", text, text, OWN, OWN, "test")
        clips.add(row, take.waveform * np.float32(0.5), take.span)


def _played(take: Take, rng: np.random.Generator) -> tuple[Waveform, tuple[int, int]]:
    """A take somewhat faster or slower, nearer or farther."""
    speed = 1.0 + rng.uniform(-_MOST_SPEED_CHANGE, _MOST_SPEED_CHANGE)
    clip = change_speed(take.waveform, speed)
    start, end = (min(round(place / speed), len(clip)) for place in take.span)
    return at_peak(clip, rng.uniform(-20.0, -2.0)), (start, end)
