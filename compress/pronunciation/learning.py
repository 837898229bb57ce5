"""Learn to grade as experts do: small networks over what a checker tells of a sentence."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from runtime.pronunciation.evidence import evidence
from runtime.pronunciation.grading import Grader, Head
from train.data.cuts import hashed_share
from train.seeding import seeded

from .. import CompressError
from .agreement import WRONG_BELOW
from .lessons import Lesson

HELD_SHARE = 0.25
"""Of the speakers: they tell when to stop, and below which grade a phone is wrong."""
_EPOCHS = 40
_BATCHES_AN_EPOCH = 160
_DROPOUT = 0.2
_LEARNING_RATE = 2e-3
_UNITS = {"phones": 32, "words": 32, "sentence": 16}
_THRESHOLDS = np.arange(0.3, 1.8, 0.05)


@dataclass(frozen=True)
class _Rows:
    """What one network learns from."""

    figures: NDArray[np.float64]
    """(rows, features)."""
    grades: NDArray[np.float64]
    """(rows, outputs) in [0, 2], not a number where there is none."""
    held: NDArray[np.bool_]
    """(rows,), of speakers that are held back."""
    real: NDArray[np.bool_]
    """(rows,), of what was read."""


class Learned(NamedTuple):
    """A grader, and how it does on speakers whom it did not learn from."""

    grader: Grader
    held_speakers: int
    correlation: float
    """Pearson's, of phones."""
    f1_of_wrong: float


def learn(lessons: Iterable[Lesson], names: Sequence[str], *, seed: int) -> Learned:
    """Fit a grader.

    Args:
        lessons: of several speakers.
        names: phones that may be asked for.
        seed: of weights, order and dropout.

    Raises:
        CompressError: too few speakers to hold some back.
    """
    taken = list(lessons)
    speakers = {lesson.speaker for lesson in taken}
    held = {speaker for speaker in speakers if hashed_share(speaker) < HELD_SHARE}
    if not held or held == speakers:
        raise CompressError(
            f"the speakers are too few, {len(speakers)}, to hold some back for judging; give more"
        )
    rows = _rows(taken, names, held)
    with seeded(seed):
        heads = {name: _fit(part, _UNITS[name]) for name, part in rows.items()}
    phones = rows["phones"]
    judged = phones.held & phones.real & ~np.isnan(phones.grades[:, 0])
    told = heads["phones"](phones.figures[judged])[:, 0]
    experts = phones.grades[judged, 0]
    f1s = [_f1(told < threshold, experts < WRONG_BELOW) for threshold in _THRESHOLDS]
    best = int(np.argmax(f1s))
    grader = Grader(
        phones=heads["phones"],
        words=heads["words"],
        sentence=heads["sentence"],
        names=tuple(names),
        wrong_below=float(_THRESHOLDS[best]),
    )
    return Learned(grader, len(held), float(np.corrcoef(told, experts)[0, 1]), f1s[best])


def _rows(taken: Sequence[Lesson], names: Sequence[str], held: set[str]) -> dict[str, _Rows]:
    seen = [evidence(lesson.sentence, names) for lesson in taken]
    parts = {
        "phones": (
            [part.phones for part in seen],
            [[[grade] for word in lesson.phones for grade in word] for lesson in taken],
        ),
        "words": (
            [part.words for part in seen],
            [[[grade] for grade in lesson.words] for lesson in taken],
        ),
        "sentence": (
            [part.sentence[None] for part in seen],
            [[[lesson.total, lesson.fluency]] for lesson in taken],
        ),
    }
    made = {}
    for name, (figures, grades) in parts.items():
        counts = [len(rows) for rows in figures]
        made[name] = _Rows(
            figures=np.concatenate(figures),
            grades=np.array(
                [
                    [math.nan if grade is None else grade for grade in row]
                    for rows in grades
                    for row in rows
                ]
            ),
            held=np.repeat([lesson.speaker in held for lesson in taken], counts),
            real=np.repeat([lesson.is_real for lesson in taken], counts),
        )
    return made


def _fit(rows: _Rows, units: int) -> Head:
    """A network as it was in its best epoch on held-back speakers."""
    mean = rows.figures[~rows.held].mean(axis=0)
    scale = rows.figures[~rows.held].std(axis=0) + 1e-3
    known = np.isfinite(rows.grades).any(axis=1)
    figures = torch.from_numpy((rows.figures - mean) / scale).float()
    grades = torch.from_numpy(rows.grades).float()
    learned, judged = (
        torch.from_numpy(np.flatnonzero(known & part)) for part in (~rows.held, rows.held)
    )
    last = nn.Linear(units, grades.shape[1])
    net = nn.Sequential(nn.Linear(figures.shape[1], units), nn.ReLU(), nn.Dropout(_DROPOUT), last)
    with torch.no_grad():
        last.bias.copy_(grades[learned].nanmean(dim=0))
    optimizer = torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE, weight_decay=1e-3)
    best_error, best = math.inf, net.state_dict()
    size = max(16, math.ceil(len(learned) / _BATCHES_AN_EPOCH))
    for _ in range(_EPOCHS):
        net.train()
        for batch in learned[torch.randperm(len(learned))].split(size):
            optimizer.zero_grad()
            _error(net(figures[batch]), grades[batch]).backward()
            optimizer.step()
        net.eval()
        with torch.inference_mode():
            error = float(_error(net(figures[judged]), grades[judged]))
        if error < best_error:
            best_error, best = error, copy.deepcopy(net.state_dict())
    weights = {name: value.double().numpy() for name, value in best.items()}
    hidden = weights["0.weight"] / scale
    seen = rows.figures[~rows.held]
    return Head(
        low=seen.min(axis=0).astype(np.float32),
        high=seen.max(axis=0).astype(np.float32),
        hidden=hidden.astype(np.float32),
        hidden_bias=(weights["0.bias"] - hidden @ mean).astype(np.float32),
        output=weights["3.weight"].astype(np.float32),
        output_bias=weights["3.bias"].astype(np.float32),
    )


def _error(told: Tensor, grades: Tensor) -> Tensor:
    """Mean square over the grades that there are."""
    there = grades.isfinite()
    return (told[there] - grades[there]).square().mean()


def _f1(told: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> float:
    return 2.0 * int((told & wrong).sum()) / max(1, int(told.sum() + wrong.sum()))
