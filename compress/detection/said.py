"""Labelled clips of a corpus: which hold a bundle's keywords, and which other words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from train.data.audio import PackedAudio
from train.data.corpus import read_corpus, usable
from train.data.cuts import SAMPLE_RATE, SILENCE, UNKNOWN, label_of
from train.data.spoken import holds, spoken_text, word_span
from train.errors import DataError

from .hearing import Source
from .matching import Word
from .scenes import Clip, Condition, Sounds, at_rate, scene

if TYPE_CHECKING:
    from lhotse import MonoCut

_CLIPS_PER_SCENE = 40


@dataclass(frozen=True)
class Labelled:
    """A clip by its place in the packed audio."""

    cut_id: str
    keyword: int | None
    """A keyword's column; None: another word, or none at all."""
    span: tuple[int, int]
    """Of its word, in samples at 16 kHz."""


@dataclass(frozen=True, eq=False)
class Said:
    """The clips of one partition."""

    packed: PackedAudio
    keywords: tuple[Labelled, ...]
    others: tuple[Labelled, ...]
    aligned: int
    """Keyword clips whose word's end alignments told; energy told the others'."""
    left_out: int
    """Clips that hold a keyword among other words, or say nothing of what they hold."""

    def scenes(
        self,
        clips: Sequence[Labelled],
        condition: Condition,
        sounds: Sounds,
        *,
        sample_rate: int,
        tail_s: float,
        seed: int,
    ) -> list[Source]:
        """Every clip once, in scenes that are made when it is their turn.

        Args:
            clips: of these; their order is drawn.
            condition: which the sounds hold.
            sounds: as `scene` takes them.
            sample_rate: of the bundle.
            tail_s: least time from a word's end to the next clip's lead.
            seed: of the order and of what `scene` draws.
        """
        order = np.random.default_rng([seed, len(clips)]).permutation(len(clips))
        starts = range(0, len(order), _CLIPS_PER_SCENE)
        groups = [[clips[i] for i in order[start : start + _CLIPS_PER_SCENE]] for start in starts]

        def stage(number: int) -> tuple[NDArray[np.float32], list[Word]]:
            waveform, words = scene(
                [self._clip(clip) for clip in groups[number]],
                condition,
                sounds,
                tail_samples=round(tail_s * SAMPLE_RATE),
                seed=(seed, number),
            )
            return at_rate(waveform, words, sample_rate)

        return [partial(stage, number) for number in range(len(groups))]

    def _clip(self, clip: Labelled) -> Clip:
        return Clip(self.packed.waveform(clip.cut_id), clip.keyword, clip.span)


def read_said(root: Path, keywords: Sequence[str], *, partition: str) -> Said:
    """Read a partition of a labelled corpus; labels are compared without case, "_" and "-".

    Args:
        root: in any layout that training reads.
        keywords: the bundle's, in the order of a trace's columns.
        partition: `test` to evaluate.

    Raises:
        DataError: no such corpus or partition, or no clip of any keyword in it.
    """
    cuts = usable(read_corpus(root), partition=partition)
    words = [spoken_text(word) for word in keywords]
    chosen: list[tuple[MonoCut, int | None]] = []
    left_out = 0
    for cut in cuts:
        label = label_of(cut)
        text = spoken_text(label)
        if label in (SILENCE, UNKNOWN):
            chosen.append((cut, None))
        elif text in words:
            chosen.append((cut, words.index(text)))
        elif not text or any(holds(text, word) for word in words):
            left_out += 1
        else:
            chosen.append((cut, None))
    if all(keyword is None for _, keyword in chosen):
        there = sorted({label_of(cut) for cut in cuts})
        named = ", ".join(map(repr, there[:8])) + (", …" if len(there) > 8 else "")
        raise DataError(
            f"{root}: no {partition!r} clip is labelled with a keyword of the bundle "
            f"({', '.join(map(repr, keywords))}); its labels are {named}"
        )
    packed = PackedAudio.of(type(cuts).from_cuts(cut for cut, _ in chosen), progress=True)
    found: list[Labelled] = []
    aligned = 0
    for cut, keyword in chosen:
        start, end, told = word_span(cut, packed.waveform(cut.id))
        aligned += told and keyword is not None
        found.append(Labelled(str(cut.id), keyword, (start, end)))
    return Said(
        packed=packed,
        keywords=tuple(clip for clip in found if clip.keyword is not None),
        others=tuple(clip for clip in found if clip.keyword is None),
        aligned=aligned,
        left_out=left_out,
    )
