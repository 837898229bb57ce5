"""Fine-tune an encoder, or train a baseline, to tell keywords apart."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import CutSet
from numpy.typing import NDArray

from runtime.atomic import replacing_file

from . import run
from .beginning import begun, check_source, made_from
from .config import DeviceConfig
from .data.cuts import UNKNOWN, label_of
from .data.rooms import Surroundings, read_surroundings
from .data.selection import partition_of
from .data.source import Recordings
from .errors import RecipeError
from .keywords_recipe import KeywordsRecipe, check_augment
from .labelled import read_clips
from .learner import Learner
from .models.frontend import SAMPLE_RATE
from .objectives import Objective
from .running_sound import read_running_sound
from .seeding import seeded
from .tasks.bodies import ENCODER
from .tasks.keywords import KeywordModel, KeywordObjective, confusion, predict, save_keywords
from .tasks.running import RunningConfig, Stage
from .tasks.spotting import SpottingObjective, hear_recordings

_log = logging.getLogger(__name__)


def finetune(
    recipe: KeywordsRecipe,
    data: Path,
    model: Path | None,
    out: Path,
    *,
    random_init: bool,
    resume: bool,
    surroundings: Path | None = None,
    negatives: Sequence[Path] = (),
) -> Path:
    """Train, score on the valid and test partitions, and save.

    Args:
        recipe: what to train and how.
        data: a labelled corpus with partitions.
        model: checkpoint of a pretraining, which the `wav2vec2` body needs and others may have, or
            of a keyword model of the recipe's body, whose classifier is kept where labels are.
        out: the run folder.
        random_init: take only the sizes of `model`, to measure what its weights are worth.
        resume: go on in a folder that was started with the same recipe.
        surroundings: a folder of noises and rooms that clips are mixed with, beside the corpus's
            own silence.
        negatives: corpora of speech without the keywords, for running sound.

    Returns:
        the keyword model's checkpoint, `out/model`; scores are in `out/scores.json`.

    Raises:
        TrainError: data, model or folder cannot be used.
    """
    check_source(recipe, model)
    if negatives and recipe.running is None:
        raise RecipeError("--negatives are for a recipe with [running]; this one trains on clips")
    origins = made_from(data, model, recipe.body, surroundings, random_init=random_init)
    if negatives:
        origins["negatives"] = [folder.resolve().name for folder in negatives]
    run.check(out, recipe, resume=resume, **origins)
    if (out / "scores.json").is_file():
        run.finish(out)
        return out / "model"
    around = Surroundings() if surroundings is None else read_surroundings(surroundings)
    if recipe.running is None:
        training = _on_clips(recipe, data, model, around, random_init=random_init)
    else:
        training = _on_running_sound(
            recipe, recipe.running, data, negatives, model, around, random_init=random_init
        )
    check_augment(recipe.augment, training.model.body, recipe.body)
    run.start(out, recipe, resume=resume, **origins)
    if recipe.updates:
        _train(recipe, training.objective, training.source, out, from_checkpoint=model is not None)
    save_keywords(out / "model", training.model)
    _score(training, out / "scores.json")
    run.finish(out)
    return out / "model"


@dataclass(frozen=True)
class _Training:
    """What is trained on what, and how it is scored."""

    model: KeywordModel
    objective: Objective
    source: Recordings
    scored: CutSet
    """Of all partitions."""
    predict: Callable[[CutSet], NDArray[np.float32]]
    """Posteriors (clips, labels)."""


def _on_clips(
    recipe: KeywordsRecipe,
    data: Path,
    model: Path | None,
    around: Surroundings,
    *,
    random_init: bool,
) -> _Training:
    """Windows with a clip in the middle of each."""
    clips = read_clips(recipe, data)
    with seeded(recipe.seed):
        made = begun(recipe, model, clips.labels, random_init=random_init)
    window_samples = recipe.window_samples
    objective = KeywordObjective(
        made,
        clips.variation(recipe.augment, around),
        window_samples=window_samples,
        label_smoothing=recipe.label_smoothing,
    )
    return _Training(
        made,
        objective,
        clips.source,
        clips.cuts,
        lambda part: predict(made, part, clips.packed, window_samples=window_samples),
    )


def _on_running_sound(
    recipe: KeywordsRecipe,
    config: RunningConfig,
    data: Path,
    negatives: Sequence[Path],
    model: Path | None,
    around: Surroundings,
    *,
    random_init: bool,
) -> _Training:
    """Scenes of several seconds, judged at every frame."""
    sound = read_running_sound(recipe, data, negatives)
    with seeded(recipe.seed):
        made = begun(recipe, model, sound.labels, random_init=random_init)
    objective = SpottingObjective(
        made,
        Stage(config, recipe.augment, sound.speech, sound.around(around)),
        sound.words,
        label_smoothing=recipe.label_smoothing,
    )
    late_samples = config.late_ms * SAMPLE_RATE // 1000
    return _Training(
        made,
        objective,
        Recordings(sound.train, sound.words.packed, config.scene_seconds),
        sound.scored,
        lambda part: hear_recordings(made, part, sound.packed, late_samples=late_samples),
    )


def _train(
    recipe: KeywordsRecipe,
    objective: Objective,
    source: Recordings,
    out: Path,
    *,
    from_checkpoint: bool,
) -> None:
    learned_before = "model.body.encoder." if recipe.body == ENCODER else "model.body."
    learner = Learner(
        objective,
        recipe.optimizer,
        updates=recipe.updates,
        seed=recipe.seed,
        learning_rate_scale={learned_before: recipe.body_rate_scale} if from_checkpoint else None,
    )
    run.fit(learner, source, recipe.batch, recipe.log, out, devices=DeviceConfig())


def _score(training: _Training, path: Path) -> None:
    labels = training.model.labels
    scores: dict[str, object] = {"labels": list(labels)}
    for partition in ("valid", "test"):
        part = partition_of(training.scored, partition)
        if not len(part):
            continue
        posteriors = training.predict(part)
        said = [label_of(cut) for cut in part]
        wanted = [word if word in labels else UNKNOWN for word in said]
        counts = confusion(posteriors, wanted, labels)
        accuracy = float(np.trace(counts) / counts.sum())
        scores[partition] = {"clips": len(part), "accuracy": accuracy, "confusion": counts.tolist()}
        _log.info("%s: %.1f %% of %d clips", partition, 100 * accuracy, len(part))
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
