"""Fine-tune an encoder, or train a baseline, to tell keywords apart."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lhotse import CutSet
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from runtime.atomic import replacing_file

from . import run
from .config import STRICT, DeviceConfig
from .data.cuts import UNKNOWN, label_of
from .data.rooms import Surroundings, read_surroundings
from .data.selection import partition_of
from .data.source import Recordings
from .errors import RecipeError
from .labelled import LabelledRecipe, read_clips
from .learner import Learner
from .models.bc_resnet import BcResNetConfig
from .models.causal_keyword_transformer import CausalKeywordTransformerConfig
from .models.causal_tcn import CausalTcnConfig
from .models.checkpoints import digest, load_config, stated_family
from .models.conformer import ConformerConfig
from .models.ds_cnn import DsCnnConfig
from .models.frontend import SAMPLE_RATE
from .models.keyword_transformer_config import KeywordTransformerConfig
from .models.wav2vec2 import Wav2Vec2Encoder, load_encoder
from .nearest import nearest
from .objectives import Objective
from .running_sound import read_running_sound
from .seeding import seeded
from .tasks.augmenting import AugmentConfig, front_ends
from .tasks.bodies import BODIES, ENCODER, Body, CausalBody, is_causal
from .tasks.keywords import (
    FAMILY,
    KeywordModel,
    KeywordObjective,
    confusion,
    load_keywords,
    pooled,
    predict,
    save_keywords,
)
from .tasks.running import RunningConfig, Stage
from .tasks.spotting import SpottingObjective, hear_recordings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class KeywordsRecipe(LabelledRecipe):
    """Training of a keyword classifier; without an update it is saved and scored as it was."""

    task: Literal["keywords"]
    """The head and the score."""
    body: str = ENCODER
    """`wav2vec2`: the encoder given by --model; or one of `BODIES`, from scratch or from --model,
    a keyword model or, where there is one for it, a pretraining, which then gives the sizes too."""
    bc_resnet: BcResNetConfig = BcResNetConfig()
    """Sizes of the `bc_resnet` body."""
    conformer: ConformerConfig = ConformerConfig()
    """Sizes of the `conformer` body."""
    ds_cnn: DsCnnConfig = DsCnnConfig()
    """Sizes of the `ds_cnn` body."""
    keyword_transformer: KeywordTransformerConfig = KeywordTransformerConfig()
    """Sizes of the `keyword_transformer` body, which sees whole windows."""
    causal_keyword_transformer: CausalKeywordTransformerConfig = CausalKeywordTransformerConfig()
    """Sizes of the `causal_keyword_transformer` body, which a stream can run step by step."""
    causal_tcn: CausalTcnConfig = CausalTcnConfig()
    """Sizes of the `causal_tcn` body, whose steps are the cheapest."""
    running: RunningConfig | None = None
    """Train on running sound instead of windows, as a spotter is used; for causal bodies. `labels`
    are then the keywords, and everything else in the corpus is sound without them."""
    body_rate_scale: float = 1.0
    """The pretrained body's share of the learning rate, in (0, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.body != ENCODER and self.body not in BODIES:
            raise ValueError(
                f"there is no body {self.body!r}; {nearest(self.body, [ENCODER, *BODIES])}"
            )
        fixed = self.keyword_transformer.window_samples
        if self.body == "keyword_transformer" and fixed != self.window_samples:
            raise ValueError(
                f"a keyword_transformer of window_samples {fixed} judges no other window; "
                f"set window_seconds to {fixed / SAMPLE_RATE:g}, or keyword_transformer."
                f"window_samples to {self.window_samples}"
            )
        # Whether an encoder hears in chunks is known once it is read.
        if self.streaming == "incremental" and self.body != ENCODER and not is_causal(self.body):
            raise ValueError(
                f"streaming 'incremental' needs a causal body, and {self.body!r} is trained on "
                "whole windows; take 'sliding_window', or a causal body"
            )
        if self.running is not None and not is_causal(self.body):
            raise ValueError(
                f"running sound is heard frame by frame, and {self.body!r} is trained on whole "
                "windows; leave [running] out, or take a causal body"
            )
        if self.running is not None and (self.augment.max_shift_ms or self.augment.max_lead_ms):
            raise ValueError(
                "scenes of [running] place their words themselves; set augment.max_shift_ms and "
                "augment.max_lead_ms to 0"
            )
        if not 0.0 < self.body_rate_scale <= 1.0:
            raise ValueError(f"body_rate_scale must lie in (0, 1], got {self.body_rate_scale}")


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
    made_from = {
        "data": data.resolve().name,
        "random_init": random_init,
        "model": None if model is None else _origin(model, recipe.body),
        **({} if surroundings is None else {"surroundings": surroundings.resolve().name}),
        **({"negatives": [folder.resolve().name for folder in negatives]} if negatives else {}),
    }
    run.check(out, recipe, resume=resume, **made_from)
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
    run.start(out, recipe, resume=resume, **made_from)
    if recipe.updates:
        _train(recipe, training.objective, training.source, out, from_checkpoint=model is not None)
    save_keywords(out / "model", training.model)
    _score(training, out / "scores.json")
    run.finish(out)
    return out / "model"


@plain_dataclass(frozen=True)
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
        made = _begun(recipe, model, clips.labels, random_init=random_init)
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
        made = _begun(recipe, model, sound.labels, random_init=random_init)
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


def check_source(recipe: KeywordsRecipe, model: Path | None) -> None:
    """Refuse a body without the encoder it needs, or with one it has no use for.

    Raises:
        RecipeError: recipe and `model` do not fit.
    """
    if recipe.body == ENCODER:
        if model is None:
            raise RecipeError(
                f"a recipe with body {ENCODER!r} needs --model, an encoder's checkpoint"
            )
    elif model is not None and BODIES[recipe.body].load is None and not _is_keywords(model):
        raise RecipeError(
            f"a recipe with body {recipe.body!r} takes no --model but a keyword model's: there is "
            "no pretraining for it"
        )


def check_augment(config: AugmentConfig, body: Any, name: str) -> None:
    """Refuse variations that a body called `name` cannot hear as such.

    Raises:
        RecipeError: a lead before the window, or stripes of features, without what they need.
    """
    if config.max_lead_ms and not isinstance(body, CausalBody):
        raise RecipeError(
            f"augment.max_lead_ms puts sound before a window, which body {name!r} would take for a "
            "part of it; leave it at 0, or train a causal body"
        )
    if config.stripes.masks and not front_ends(body):
        raise RecipeError(
            f"augment.stripes hides features, and body {name!r} hears the waveform itself; leave "
            "it out, or train a body with a front end"
        )


def _is_keywords(model: Path | None) -> bool:
    return model is not None and stated_family(model) == FAMILY


def _origin(model: Path, body: str) -> dict[str, Any]:
    """A checkpoint's digest and what it was made from, for the bundle's manifest."""
    family = FAMILY if _is_keywords(model) else body
    return {"sha256": digest(model), **load_config(model, family).get("provenance", {})}


def _begun(
    recipe: KeywordsRecipe, model: Path | None, labels: tuple[str, ...], *, random_init: bool
) -> KeywordModel:
    """The model before its first update."""
    made = KeywordModel(_body(recipe, model, random_init), labels)
    if model is not None and _is_keywords(model) and not random_init:
        stored = load_keywords(model)
        if stored.labels == labels:
            made.classifier.load_state_dict(stored.classifier.state_dict())
    return made


def _body(recipe: KeywordsRecipe, model: Path | None, random_init: bool) -> Body:
    if recipe.body != ENCODER:
        return _own_body(recipe, model, random_init)
    assert model is not None
    encoder = load_encoder(model)
    if random_init:
        encoder = Wav2Vec2Encoder(encoder.config)
    return pooled(encoder)


def _own_body(recipe: KeywordsRecipe, model: Path | None, random_init: bool) -> Body:
    """A body with a front end of its own: new, or read from a checkpoint.

    Raises:
        RecipeError: the recipe asks for another body or other sizes than the checkpoint has.
    """
    kind, asked = BODIES[recipe.body], getattr(recipe, recipe.body)
    if model is None:
        return kind.build(asked)
    body: Any = _read(model, recipe.body)
    found = body.config
    if asked not in (kind.config(), found):
        name = next(key for key in asdict(asked) if getattr(asked, key) != getattr(found, key))
        raise RecipeError(
            f"{model} has {recipe.body}.{name} {getattr(found, name)!r} where the recipe has "
            f"{getattr(asked, name)!r}; sizes come from the checkpoint: leave the recipe's out"
        )
    fixed = getattr(found, "window_samples", recipe.window_samples)
    if fixed != recipe.window_samples:
        raise RecipeError(
            f"{model} judges windows of {fixed} samples; set window_seconds to "
            f"{fixed / SAMPLE_RATE:g}"
        )
    return kind.build(found) if random_init else body


def _read(model: Path, name: str) -> Body:
    """The body of a keyword model, or of a pretraining."""
    if not _is_keywords(model):
        read = BODIES[name].load
        assert read is not None, "check_source lets no model pass for the others"
        return read(model)
    body = load_keywords(model).body
    if type(body) is not BODIES[name].build:
        raise RecipeError(
            f"{model} is a keyword model with another body than the recipe's {name!r}, a "
            f"{type(body).__name__}; take a recipe of its body"
        )
    return body


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
