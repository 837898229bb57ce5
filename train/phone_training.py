"""Train a phone recognizer on recordings whose phones or words are known."""

import json
import logging
from pathlib import Path
from typing import Any

from lhotse import CutSet

from runtime.atomic import replacing_file

from . import run
from .beginning import begun_phones, check_teacher, made_from, origin, phone_teacher
from .config import DeviceConfig
from .data.audio import PackedAudio
from .data.rooms import Surroundings, read_surroundings
from .data.selection import partition_of
from .learner import Learner
from .phone_recordings import read_phone_recordings
from .phones_recipe import PhonesRecipe
from .seeding import seeded
from .tasks.augmenting import Variation
from .tasks.phones import PhoneModel, PhoneObjective, phone_error_rate, save_phones
from .tasks.pseudo_labels import PseudoLabelObjective

_log = logging.getLogger(__name__)


def train_phones(
    recipe: PhonesRecipe,
    data: Path,
    out: Path,
    *,
    model: Path | None = None,
    teacher: Path | None = None,
    random_init: bool = False,
    resume: bool = False,
    surroundings: Path | None = None,
) -> Path:
    """Train, score on the valid and test partitions, and save.

    Args:
        recipe: what to train and how.
        data: a corpus with partitions, its recordings' phones told or their words. Those whose
            words nobody knows are left out, unless the recipe has `unlabelled`.
        out: the run folder.
        model: checkpoint of a model with the recipe's body to start from.
        teacher: checkpoint of a phone model of any size that tells phones for `unlabelled` with
            labels "offline"; None: `model`.
        random_init: take only the sizes of `model`.
        resume: go on in a folder that was started with the same recipe.
        surroundings: a folder of noises and rooms that recordings are mixed with.

    Returns:
        the phone model's checkpoint, `out/model`; phone error rates are in `out/scores.json`.

    Raises:
        TrainError: data, model or folder cannot be used.
    """
    check_teacher(recipe, model, teacher, random_init=random_init)
    origins = made_from(data, model, recipe.body, surroundings, random_init=random_init)
    if teacher is not None:
        origins["teacher"] = origin(teacher, recipe.body)
    run.check(out, recipe, resume=resume, **origins)
    if (out / "scores.json").is_file():
        run.finish(out)
        return out / "model"
    recordings = read_phone_recordings(recipe, data)
    packed = PackedAudio.of(recordings.cuts, progress=True)
    around = Surroundings() if surroundings is None else read_surroundings(surroundings)
    with seeded(recipe.seed):
        made = begun_phones(recipe, model, random_init=random_init)
    variation, unlabelled = Variation(recipe.augment, around), recipe.unlabelled
    if unlabelled is None:
        objective = PhoneObjective(made, variation, recordings.learned)
    else:
        objective = PseudoLabelObjective(
            made,
            variation,
            recordings.learned,
            phone_teacher(unlabelled, made, teacher or model),
            unlabelled,
            updates=recipe.updates,
        )
    run.start(out, recipe, resume=resume, **origins)
    learner = Learner(objective, recipe.optimizer, updates=recipe.updates, seed=recipe.seed)
    source = recordings.source(packed, None if unlabelled is None else unlabelled.share)
    run.fit(learner, source, recipe.batch, recipe.log, out, devices=DeviceConfig())
    save_phones(out / "model", made)
    with replacing_file(out / "scores.json") as temporary:
        scores = _scores(made, recordings.cuts, packed, recordings.said)
        temporary.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    run.finish(out)
    return out / "model"


def _scores(
    model: PhoneModel, cuts: CutSet, packed: PackedAudio, said: dict[str, tuple[str, ...]]
) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    for partition in ("valid", "test"):
        part = partition_of(cuts, partition)
        phones = sum(len(said[cut.id]) for cut in part)
        if not phones:
            continue
        rate = phone_error_rate(model, part, packed, said)
        scores[partition] = {
            "recordings": len(part),
            "phones": phones,
            "phone_error_rate": rate,
        }
        _log.info("%s: phone error rate %.1f %% of %d phones", partition, 100 * rate, phones)
    return scores
