"""Fine-tune an encoder, or train a baseline, to tell keywords apart."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic.dataclasses import dataclass

from runtime.atomic import replacing_file

from . import run
from .config import STRICT, DeviceConfig
from .data.rooms import Surroundings, read_surroundings
from .data.selection import partition_of
from .data.source import Recordings
from .errors import RecipeError
from .labelled import Clips, LabelledRecipe, read_clips
from .learner import Learner
from .models.bc_resnet import BcResNetConfig
from .models.causal_keyword_transformer import CausalKeywordTransformerConfig
from .models.checkpoints import digest, load_config, stated_family
from .models.conformer import ConformerConfig
from .models.ds_cnn import DsCnnConfig
from .models.frontend import SAMPLE_RATE
from .models.keyword_transformer_config import KeywordTransformerConfig
from .models.wav2vec2 import Wav2Vec2Encoder, load_encoder
from .nearest import nearest
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

    Returns:
        the keyword model's checkpoint, `out/model`; scores are in `out/scores.json`.

    Raises:
        TrainError: data, model or folder cannot be used.
    """
    check_source(recipe, model)
    made_from = {
        "data": data.resolve().name,
        "random_init": random_init,
        "model": None if model is None else _origin(model, recipe.body),
        **({} if surroundings is None else {"surroundings": surroundings.resolve().name}),
    }
    run.check(out, recipe, resume=resume, **made_from)
    if (out / "scores.json").is_file():
        run.finish(out)
        return out / "model"
    clips = read_clips(recipe, data)
    around = Surroundings() if surroundings is None else read_surroundings(surroundings)
    with seeded(recipe.seed):
        keyword_model = _begun(recipe, model, clips.labels, random_init=random_init)
    check_augment(recipe.augment, keyword_model.body, recipe.body)
    run.start(out, recipe, resume=resume, **made_from)
    objective = KeywordObjective(
        keyword_model,
        clips.variation(recipe.augment, around),
        window_samples=recipe.window_samples,
        label_smoothing=recipe.label_smoothing,
    )
    if recipe.updates:
        _train(recipe, objective, clips.source, out, from_checkpoint=model is not None)
    save_keywords(out / "model", keyword_model)
    _score(recipe, keyword_model, clips, out / "scores.json")
    run.finish(out)
    return out / "model"


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
    objective: KeywordObjective,
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


def _score(recipe: KeywordsRecipe, model: KeywordModel, clips: Clips, path: Path) -> None:
    scores: dict[str, object] = {"labels": list(model.labels)}
    for partition in ("valid", "test"):
        part = partition_of(clips.cuts, partition)
        if not len(part):
            continue
        posteriors = predict(model, part, clips.packed, window_samples=recipe.window_samples)
        wanted = [cut.supervisions[0].text for cut in part]
        counts = confusion(posteriors, wanted, model.labels)
        accuracy = float(np.trace(counts) / counts.sum())
        scores[partition] = {"clips": len(part), "accuracy": accuracy, "confusion": counts.tolist()}
        _log.info("%s: %.1f %% of %d clips", partition, 100 * accuracy, len(part))
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
