"""Teach a bundle of phones to grade, and hold its grades to those of experts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from runtime.pronunciation.grading import GRADES_FILE, arrays_of, gradable, grader_of
from runtime.rewrite import write_file
from runtime.stream import load

from .. import CallError
from .learning import learn
from .lessons import lessons, read_graded, real_lessons
from .levels import Judged, Levels, levels
from .phones_bundle import phones_bundle


def teach(path: Path, data: Path, *, seed: int, dry_run: bool) -> dict[str, Any]:
    """Learn from the train partition of graded speech, and write the grader into the bundle.

    Args:
        path: a folder.
        data: speechocean762, or a corpus of its layout.
        seed: of weights, order and the texts that were not read.
        dry_run: leave the bundle as it is.

    Returns:
        what was learned from, and agreement with experts on speakers held back.

    Raises:
        CallError: a bundle of another task, or a zip, which cannot be changed in place.
        BundleFault, DataError, CompressError: of reading, hearing and learning.
    """
    bundle = phones_bundle(path)
    if path.is_file() and not dry_run:  # told now, and not after minutes of hearing
        raise CallError(f"{path} is a zip, and grades are written into a folder: unpack it first")
    model = load(path)
    graded = read_graded(data, "train")
    names = gradable(bundle.manifest.labels)
    learned = learn(lessons(model, graded, seed=seed), names, seed=seed)
    told = {
        "data": data.name,
        "sentences": len(graded.cuts),
        "seed": seed,
        "held_speakers": learned.held_speakers,
        "held_phone_correlation": learned.correlation,
        "held_f1_of_wrong": learned.f1_of_wrong,
        "wrong_below": learned.grader.wrong_below,
    }
    if not dry_run:
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **arrays_of(learned.grader))
        write_file(path, GRADES_FILE, packed.getvalue(), measured={"grades": told})
    return told


def agree(path: Path, data: Path) -> Levels:
    """Grade the test partition of graded speech, and hold that to the experts' grades.

    Raises:
        CallError: a bundle of another task, or one that does not grade.
        BundleFault, DataError, CompressError: of reading and hearing.
    """
    bundle = phones_bundle(path)
    grader = grader_of(bundle.files, bundle.manifest.labels)
    if grader is None:
        raise CallError(f"{path} grades nothing yet: teach it with compress grade {path} DATA")
    graded = read_graded(data, "test")
    experts = iter(graded.cuts)
    judged = []
    for lesson in real_lessons(load(path), graded):
        sentence = grader.grade(lesson.sentence)
        told = Judged(
            phones=[
                [phone.score for phone in word.phones if phone.phone is not None]
                for word in sentence.words
            ],
            words=[word.score for word in sentence.words],
            sentence=sentence.score,
        )
        judged.append((told, graded.scores[next(experts).id], lesson.speaker))
    return levels(judged, told_below=grader.wrong_below)
