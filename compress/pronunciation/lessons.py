"""What a grader learns from: sentences as experts graded them, and texts that nobody read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import CutSet, MonoCut

from runtime.phone_stream import hear
from runtime.pronunciation import Sentence, check
from runtime.stream import Model
from train.data.audio import PackedAudio
from train.data.corpora import speechocean762
from train.data.label_share import speaker_of
from train.data.scores import SentenceScores, WordScores, find_scores, read_scores
from train.data.selection import partition_of
from train.progress import track

from .. import CompressError
from .levels import TO_PHONES

_OTHER_WORD_EVERY, _OTHER_TEXT_EVERY = 12, 30
"""Of sentences one is also held for one with a word of another, and for another altogether: thrice
as often cost 0.04 of the correlation with experts, and none at all lets silence pass for speech."""

Words = list[tuple[str, tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A checked sentence and its grades in [0, 2]; None where there is none to learn."""

    speaker: str
    sentence: Sentence
    phones: Sequence[Sequence[float | None]]
    """Of each word."""
    words: Sequence[float | None]
    total: float | None
    fluency: float | None
    is_real: bool = True
    """Whether this is what was read; else some of the text is not."""


@dataclass(frozen=True)
class Graded:
    """A corpus with grades."""

    cuts: list[MonoCut]
    packed: PackedAudio
    scores: Mapping[str, SentenceScores]
    """By the cut's id."""


def read_graded(root: Path, partition: str) -> Graded:
    """Read speechocean762 and its experts' scores.

    Raises:
        DataError: it is not that corpus, or its scores are missing.
        CompressError: no sentence of the partition has scores.
    """
    by_utterance = read_scores(find_scores(root))
    cuts = [
        cut
        for cut in partition_of(CutSet.from_cuts(speechocean762.cuts(root)), partition)
        if Path(cut.id).stem in by_utterance
    ]
    if not cuts:
        raise CompressError(f"{root} has no {partition} sentence that experts scored")
    packed = PackedAudio.of(CutSet.from_cuts(cuts), progress=True)
    return Graded(cuts, packed, {cut.id: by_utterance[Path(cut.id).stem] for cut in cuts})


def real_lessons(model: Model, graded: Graded) -> Iterator[Lesson]:
    """Every sentence as it was read, with a progress bar."""
    for cut in track(graded.cuts, "sentences"):
        yield _real(graded.scores[cut.id], speaker_of(cut), _Heard(model, graded, cut))


def lessons(model: Model, graded: Graded, *, seed: int) -> Iterator[Lesson]:
    """Every sentence as it was read, and some held against texts that were not.

    Experts graded what had been read, so a grader that learned from them alone would let anything
    pass for a phone.

    Args:
        model: of phones.
        graded: what experts graded.
        seed: of the texts that were not read.
    """
    rng = np.random.default_rng(seed)
    texts = [graded.scores[cut.id] for cut in graded.cuts]
    for number, cut in enumerate(track(graded.cuts, "sentences")):
        own, speaker = texts[number], speaker_of(cut)
        heard = _Heard(model, graded, cut)
        yield _real(own, speaker, heard)
        other = texts[rng.integers(len(texts))]
        if number % _OTHER_WORD_EVERY == 0:
            yield _with_other_word(own, other, speaker, heard, rng)
        if number % _OTHER_TEXT_EVERY == 1 and other.text != own.text:
            yield _with_other_text(other, speaker, heard)


class _Heard:
    """A recording's phones, held against texts."""

    def __init__(self, model: Model, graded: Graded, cut: MonoCut) -> None:
        self._labels = model.labels
        self._frames = hear(model, [graded.packed.waveform(cut.id)])

    def checked(self, words: Words) -> Sentence:
        frames = self._frames
        return check(frames.log_posteriors, self._labels, words, frames.frame_s)


def _real(own: SentenceScores, speaker: str, heard: _Heard) -> Lesson:
    return Lesson(
        speaker=speaker,
        sentence=heard.checked([_asked(word) for word in own.words]),
        phones=[word.phone_scores for word in own.words],
        words=[word.total * TO_PHONES for word in own.words],
        total=own.total * TO_PHONES,
        fluency=own.fluency * TO_PHONES,
    )


def _with_other_word(
    own: SentenceScores,
    other: SentenceScores,
    speaker: str,
    heard: _Heard,
    rng: np.random.Generator,
) -> Lesson:
    """One word is asked for that was not read: all of it is wrong, and the rest is as it was."""
    place = int(rng.integers(len(own.words)))
    asked = [_asked(word) for word in own.words]
    asked[place] = _asked(other.words[rng.integers(len(other.words))])
    phones: list[Sequence[float | None]] = [word.phone_scores for word in own.words]
    phones[place] = [0.0] * len(asked[place][1])
    words: list[float | None] = [word.total * TO_PHONES for word in own.words]
    words[place] = 0.0
    if asked[place][1] == own.words[place].phones:  # the same word, by chance
        phones[place], words[place] = own.words[place].phone_scores, None
    return Lesson(
        speaker=speaker,
        sentence=heard.checked(asked),
        phones=phones,
        words=words,
        total=None,
        fluency=None,
        is_real=False,
    )


def _with_other_text(other: SentenceScores, speaker: str, heard: _Heard) -> Lesson:
    """Nothing that is asked for was read."""
    return Lesson(
        speaker=speaker,
        sentence=heard.checked([_asked(word) for word in other.words]),
        phones=[[0.0] * len(word.phones) for word in other.words],
        words=[0.0] * len(other.words),
        total=0.0,
        fluency=None,
        is_real=False,
    )


def _asked(word: WordScores) -> tuple[str, tuple[str, ...]]:
    return word.text, word.phones
