"""A training run of a keyword supernet."""

import json
import logging
from pathlib import Path

from runtime.atomic import replacing_file
from train import run
from train.config import DeviceConfig
from train.data.rooms import Surroundings
from train.errors import DataError
from train.keywords_recipe import check_augment
from train.labelled import Clips, read_clips
from train.learner import Learner
from train.seeding import seeded

from ..keyword_clips import SETTLING_CLIPS, drawn, settle_norms
from ..keyword_supernet import (
    KeywordSupernet,
    keyword_space,
    materialize,
    save_keyword_supernet,
)
from .in_place import InPlace, KeywordSupernetRecipe

_log = logging.getLogger(__name__)


def train_keyword_supernet(
    recipe: KeywordSupernetRecipe, data: Path, out: Path, *, resume: bool
) -> Path:
    """Train every model of a space at once, in one process.

    Args:
        recipe: space, labels, clips and rates.
        data: a labelled corpus with partitions.
        out: the run folder.
        resume: go on in a folder that was started with the same recipe.

    Returns:
        the supernet's checkpoint, `out/model`; accuracies of the largest and the smallest model on
        the valid partition, where there is one, are in `out/scores.json`.

    Raises:
        TrainError, CompressError: space, data or folder cannot be used.
    """
    space = keyword_space(recipe.space)
    recipe.keywords(space)  # what does not fit is said before anything is read
    made_from = {"data": data.resolve().name}
    run.check(out, recipe, resume=resume, **made_from)
    if (out / "scores.json").is_file():
        run.finish(out)
        return out / "model"
    clips = read_clips(recipe, data)
    with seeded(recipe.seed):
        supernet = KeywordSupernet(space, clips.labels, window_samples=recipe.window_samples)
    check_augment(recipe.augment, supernet.model.body, space.body)
    run.start(out, recipe, resume=resume, **made_from)
    _log.info("all %s models of space %s at once", f"{space.size():,}", space.name)
    objective = InPlace(
        supernet,
        clips.variation(recipe.augment, Surroundings()),
        window_samples=recipe.window_samples,
        label_smoothing=recipe.label_smoothing,
        num_random=recipe.num_random,
    )
    learner = Learner(objective, recipe.optimizer, updates=recipe.updates, seed=recipe.seed)
    run.fit(learner, clips.source, recipe.batch, recipe.log, out, devices=DeviceConfig())
    heard = drawn(clips, "train", SETTLING_CLIPS, window_samples=recipe.window_samples, seed=0)
    settle_norms(supernet.model, heard)
    save_keyword_supernet(out / "model", supernet, provenance=made_from)
    _score(recipe, supernet.eval(), clips, out / "scores.json")
    run.finish(out)
    return out / "model"


def _score(
    recipe: KeywordSupernetRecipe, supernet: KeywordSupernet, clips: Clips, path: Path
) -> None:
    """Accuracy of the extremes on the valid partition: whether there is something to search."""
    window, scores = recipe.window_samples, {}
    heard = drawn(clips, "train", SETTLING_CLIPS, window_samples=window, seed=0)
    try:
        valid = drawn(clips, "valid", None, window_samples=window, seed=0)
    except DataError:
        _log.info("no valid partition: the models are not scored")
    else:
        space = supernet.space
        for name, subnet in (("largest", space.largest()), ("smallest", space.smallest())):
            model = materialize(supernet, subnet)
            settle_norms(model, heard)
            scores[name] = valid.accuracy(model)
            _log.info("%s: %.1f %% of %d clips", name, 100 * scores[name], len(valid.wanted))
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps({"valid": scores}) + "\n", encoding="utf-8")
