"""Run a bundle over a corpus' words and over audio without them, in quiet and in noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle, read_bundle
from train.data.corpus import read_corpus
from train.data.cuts import SAMPLE_RATE
from train.errors import DataError

from .det import alarms_allowed, between_peaks, count_alarms, count_hits, even_thresholds
from .hearing import Source, hear
from .matching import Word
from .negatives import Negatives, Piece, read_negatives
from .results import Evaluation, Plan
from .said import Said, read_said
from .scenes import NUM_TALKERS, Condition, Sounds
from .trace import keywords_of

CLEAN = Condition("clean")
_ROOM_LABELS = ("rir", "room")
_MOST_TALKERS = 40
_TALKER_S = (2.0, 20.0)
"""Shortest recording that a babble takes, and the most it takes of one."""
_NOISE_S = 60.0


def evaluate(
    path: Path, data: Path, *, negatives: Path | None, noise: Path | None, plan: Plan
) -> Evaluation:
    """Measure a bundle on the test partition of a corpus.

    Keyword clips are set into scenes and heard in each condition. False alarms are counted where no
    keyword is said, in quiet: in scenes of the other clips and in `negatives`. So a miss ratio in
    noise at a rate of false alarms is that of the threshold which gives this rate in quiet: a
    device has one.

    Args:
        path: the bundle.
        data: a corpus of labelled clips.
        negatives: long audio without keywords; its recordings are a babble's talkers too.
        noise: recordings of noises, and responses of rooms, labelled rir.
        plan: what is measured.

    Raises:
        BundleFault: no such bundle, or one that fails.
        DataError: a corpus that cannot be used, or no audio without keywords at all.
    """
    bundle = read_bundle(path)
    manifest = bundle.manifest
    keywords = keywords_of(manifest)
    said = read_said(data, keywords, partition="test")
    other = None if negatives is None else read_negatives(negatives, keywords, testing=True)
    if other is None and not said.others:
        raise DataError(
            f"{data} holds no test clip without a keyword, so no false alarm can be counted; give "
            "--negatives, a folder of speech without keywords"
        )
    sounds = _sounds(noise, other, plan)
    wanted = [
        CLEAN,
        *(Condition(kind, snr) for kind in ("noise", "babble") for snr in plan.snrs_db),
    ]
    conditions = [condition for condition in wanted if sounds.holds(condition)]
    stage = partial(
        said.scenes, sample_rate=manifest.sample_rate, tail_s=plan.tolerance_s, seed=plan.seed
    )

    quiet = Sounds()
    sources = [*stage(said.others, CLEAN, quiet), *pieces_of(other, manifest.sample_rate)]
    traces = [trace for trace, _ in hear(bundle, sources, "hearing audio without keywords")]
    hours = sum(trace.num_samples for trace in traces) / manifest.sample_rate / 3600.0
    num_peaks = 16 + math.ceil(2.0 * max(plan.rates_per_hour) * hours)
    peaks = [between_peaks(traces, k, num_peaks=num_peaks) for k in range(len(keywords))]
    common = np.unique(np.concatenate([even_thresholds(), *peaks]))
    own = [manifest.keyword_decision.threshold_of(word) for word in keywords]
    thresholds = np.vstack([np.repeat(common[:, None], len(keywords), axis=1), own])

    hits = {}
    for condition in conditions:
        streams = hear(
            bundle, stage(said.keywords, condition, sounds), f"hearing words, {condition.name}"
        )
        hits[condition.name] = count_hits(
            streams,
            thresholds,
            manifest.keyword_decision,
            tolerance_samples=round(plan.tolerance_s * manifest.sample_rate),
        )
    return Evaluation(
        plan=plan,
        keywords=keywords,
        thresholds=thresholds,
        alarms=count_alarms(
            traces, thresholds, manifest.keyword_decision, sample_rate=manifest.sample_rate
        ),
        hits=hits,
        sample_rate=manifest.sample_rate,
        about=_about(bundle, said, other, sounds, wanted, plan, hours),
    )


def pieces_of(negatives: Negatives | None, sample_rate: int) -> list[Source]:
    """Each piece as a source without words."""

    def read(piece: Piece) -> tuple[NDArray[np.float32], list[Word]]:
        return piece.read(sample_rate), []

    return [partial(read, piece) for piece in (negatives.pieces if negatives else ())]


def recorded_sounds(folder: Path) -> Sounds:
    """Noises and rooms of a corpus' test partition, or where it has none, of all of it.

    Raises:
        DataError: a recording cannot be read.
    """
    noises: list[NDArray[np.float32]] = []
    rooms: list[NDArray[np.float32]] = []
    cuts = list(read_corpus(folder))
    for cut in [cut for cut in cuts if cut.partition == "test"] or cuts:
        path = Path(str(cut.recording.sources[0].source))
        piece = Piece(path, cut.start, min(cut.duration, _NOISE_S))
        room = bool(cut.supervisions) and cut.supervisions[0].text in _ROOM_LABELS
        (rooms if room else noises).append(piece.read(SAMPLE_RATE))
    return Sounds(noises=noises, rooms=rooms)


def _sounds(noise: Path | None, negatives: Negatives | None, plan: Plan) -> Sounds:
    """What is recorded, and talkers of the negatives."""
    recorded = Sounds() if noise is None else recorded_sounds(noise)
    talkers = _talkers(negatives, plan.seed)
    return replace(recorded, talkers=talkers, in_rooms=plan.in_rooms)


def _talkers(negatives: Negatives | None, seed: int) -> list[NDArray[np.float32]]:
    """One recording of each speaker, as far as speakers are known."""
    pieces = negatives.pieces if negatives is not None else ()
    long_enough = [piece for piece in pieces if piece.duration_s >= _TALKER_S[0]]
    order = np.random.default_rng([seed, len(long_enough)]).permutation(len(long_enough))
    by_speaker: dict[str, Piece] = {}
    for index in order:
        piece = long_enough[index]
        by_speaker.setdefault(piece.speaker or str(piece.path), piece)
    return [
        Piece(piece.path, piece.start_s, min(piece.duration_s, _TALKER_S[1])).read(SAMPLE_RATE)
        for piece in list(by_speaker.values())[:_MOST_TALKERS]
    ]


def _about(
    bundle: Bundle,
    said: Said,
    negatives: Negatives | None,
    sounds: Sounds,
    wanted: Sequence[Condition],
    plan: Plan,
    hours: float,
) -> dict[str, Any]:
    """What a reader of the figures has to know."""
    notes = []
    missing = {condition.kind for condition in wanted if not sounds.holds(condition)}
    if "noise" in missing:
        notes.append("no noise: give --noise, a folder of recorded noises")
    if "babble" in missing:
        notes.append(
            f"no babble: it takes speech of {NUM_TALKERS} others in --negatives, 2 s of each"
        )
    for rate in plan.rates_per_hour:
        if alarms_allowed(rate, hours) < 1:
            notes.append(
                f"{rate:g} per hour takes {1.0 / rate:g} h or more, and {hours:.2f} h were heard"
            )
    ends = "energy" if not said.aligned else f"alignments in {said.aligned} clips, else energy"
    return {
        "bundle": bundle.manifest.name,
        "hours_without_keywords": hours,
        "negatives": {} if negatives is None else {
            "partitions": list(negatives.partitions), "left_out_for_a_keyword": negatives.left_out
        },
        "words": len(said.keywords),
        "other_clips": len(said.others),
        "clips_left_out": said.left_out,
        "ends_of_words_by": ends,
        "tolerance_s": plan.tolerance_s,
        "in_rooms": plan.in_rooms,
        "seed": plan.seed,
        "notes": notes,
    }  # fmt: skip
