"""Vectors of a causal model, and the line between those of a keyword's takes and all others.

Where a take ends, its vectors lie together; a linear discriminant separates them from the vectors
of other speech, and is a classifier of two labels like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from train.data.rooms import Surroundings
from train.data.running import Speech
from train.models.streaming import initial
from train.tasks.augmenting import AugmentConfig
from train.tasks.bodies import CausalBody
from train.tasks.running import IGNORED, NOTHING, RunningConfig, Stage, frame_labels

from .. import CompressError
from .takes import Take

_SCENES_PER_TAKE = 40
_OTHER_SCENES = 600
_BATCH = 16
# Milder than in training: a line cannot learn to hear through noise, only blur what it looks for.
_SAID = RunningConfig(
    keyword_prob=1.0, part_prob=0.0, speech_prob=0.3, babble_prob=0.1, early_ms=0, late_ms=200
)
_UNSAID = replace(_SAID, keyword_prob=0.0, part_prob=0.3, speech_prob=0.8)
"""The beginning or the end of a take is no keyword, and neither is other speech."""
_VARIED = AugmentConfig(
    max_speed_change=0.1,
    max_gain_db=20.0,
    max_shift_ms=0,
    room_prob=0.2,
    noise_prob=0.3,
    lowest_snr_db=10.0,
)
_TAIL = 0.99
"""Share of other frames that get a logit below 0."""
_HEIGHT = 4.0
"""Logit of a scene's best frame of the keyword, in the mean."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Vectors of scenes' frames; those that are judged neither way are left out."""

    vectors: NDArray[np.float64]
    """(frames, dim)."""
    said: NDArray[np.bool_]
    """(frames,): whether the keyword is to be told there."""
    scene: NDArray[np.int64]
    """(frames,): which scene."""
    take: NDArray[np.int64]
    """(frames,): the number of the scene's take; -1 where all of none is in it."""


@dataclass(frozen=True, eq=False)
class Line:
    """A logit as a function of a vector."""

    weight: NDArray[np.float64]
    """(dim,)."""
    bias: float

    def logits(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """(frames, dim) to (frames,)."""
        found: NDArray[np.float64] = vectors @ self.weight + self.bias
        return found


def hear_takes(
    body: CausalBody, takes: Sequence[Take], speech: Speech, around: Surroundings, *, seed: int
) -> Frames:
    """Hear every take in many scenes, and scenes without it.

    Args:
        body: in evaluation mode.
        takes: one or more.
        speech: other speech, around takes and alone.
        around: noises and rooms.
        seed: of the scenes.
    """
    wanted = [(take, True) for take in range(len(takes)) for _ in range(_SCENES_PER_TAKE)]
    wanted += [(number % len(takes), False) for number in range(_OTHER_SCENES)]
    stages = {
        said: Stage(config, _VARIED, speech, around)
        for said, config in ((True, _SAID), (False, _UNSAID))
    }
    num_samples = _SAID.scene_samples // body.hop_samples * body.hop_samples
    vectors, labels = [], []
    for start in range(0, len(wanted), _BATCH):
        rows = []
        for number, (take, said) in enumerate(wanted[start : start + _BATCH], start):
            rng = np.random.default_rng([seed, number])
            clip, span = takes[take].waveform, takes[take].span
            scene = stages[said].scene(clip, span, num_samples, rng)
            rows.append(scene.waveform)
            sizes = {"hop_samples": body.hop_samples, "window_samples": body.window_samples}
            labels.append(frame_labels(scene, NOTHING + 1, _SAID, **sizes))
        waveform = torch.from_numpy(np.stack(rows))
        with torch.inference_mode():
            heard, _ = body.stream(waveform, initial(body.shapes(), len(rows), like=waveform))
        vectors.append(heard.numpy().astype(np.float64))
    label = np.stack(labels)  # (scenes, frames)
    judged = label != IGNORED
    scenes = np.broadcast_to(np.arange(len(wanted))[:, None], label.shape)[judged]
    whose = np.array([take if said else -1 for take, said in wanted])
    return Frames(
        vectors=np.concatenate(vectors)[judged],
        said=label[judged] != NOTHING,
        scene=scenes,
        take=whose[scenes],
    )


def draw_line(frames: Frames, *, without_take: int | None = None) -> Line:
    """The linear discriminant between takes and other speech, in logits of one scale.

    The covariance is that within both, nearly all of it other speech's, as takes are few and their
    frames alike; it is drawn towards a multiple of the identity, after Ledoit and Wolf. A logit of
    0 is what a hundredth of other frames reach, and the best frame of a scene with a take has 4 in
    the mean: posteriors that a threshold can tell apart.

    Args:
        frames: of takes and of other speech.
        without_take: a take whose scenes are left out; None: none.

    Raises:
        CompressError: the takes are not above the others.
    """
    from sklearn.covariance import ledoit_wolf

    used = np.ones(len(frames.said), dtype=bool)
    if without_take is not None:
        used = frames.take != without_take
    vectors, said = frames.vectors[used], frames.said[used]
    means = [vectors[said == which].mean(axis=0) for which in (False, True)]
    within, _ = ledoit_wolf(
        vectors - np.where(said[:, None], means[1], means[0]), assume_centered=True
    )
    weight: NDArray[np.float64] = np.linalg.solve(within, means[1] - means[0])
    scores = vectors @ weight
    zero = float(np.quantile(scores[~said], _TAIL))
    above = float(_best(scores[said], frames.scene[used][said]).mean()) - zero
    if not above > 0.0:
        raise CompressError(
            "the takes cannot be told from other speech by this model's vectors: a hundredth of "
            "other moments is as near as they are. Train instead (leave --enroll out), or give "
            "--model a model of more words"
        )
    return Line(weight * (_HEIGHT / above), -zero * (_HEIGHT / above))


def logits_when_left_out(frames: Frames, take: int) -> NDArray[np.float64]:
    """The best logit in each of a take's scenes, by a line that was drawn without the take.

    Raises:
        CompressError: as `draw_line`.
    """
    line = draw_line(frames, without_take=take)
    here = (frames.take == take) & frames.said
    return _best(line.logits(frames.vectors[here]), frames.scene[here])


def _best(values: NDArray[np.float64], scene: NDArray[np.int64]) -> NDArray[np.float64]:
    """The largest in each scene."""
    return np.array([values[scene == each].max() for each in np.unique(scene)])
