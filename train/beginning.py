"""What a model is before its first update: new, or from a checkpoint."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .errors import RecipeError
from .keywords_recipe import KeywordsRecipe
from .models.checkpoints import digest, load_config, stated_family
from .models.frontend import SAMPLE_RATE
from .models.wav2vec2 import Wav2Vec2Encoder, load_encoder
from .phones_recipe import PhonesRecipe
from .tasks import keywords, phones
from .tasks.bodies import BODIES, ENCODER, Body
from .tasks.keywords import KeywordModel, load_keywords, pooled
from .tasks.phones import PhoneModel, load_phones
from .tasks.pseudo_labels import PhoneTeacher, UnlabelledConfig


def check_source(recipe: KeywordsRecipe, model: Path | None) -> None:
    """Refuse a body without the encoder it needs, or with one it has no use for.

    Raises:
        RecipeError: recipe and `model` do not fit.
    """
    if model is not None and not model.is_dir():
        raise RecipeError(f"there is no folder {model}; name a run or a checkpoint with --model")
    if recipe.body == ENCODER:
        if model is None:
            raise RecipeError(
                f"a recipe with body {ENCODER!r} needs --model, an encoder's checkpoint"
            )
    elif model is not None and BODIES[recipe.body].load is None and not _is_trained(model):
        raise RecipeError(
            f"a recipe with body {recipe.body!r} takes no --model but that of keywords or phones: "
            "there is no pretraining for it"
        )


_TRAINED: dict[str, Callable[[Path], Any]] = {
    keywords.FAMILY: load_keywords,
    phones.FAMILY: load_phones,
}
"""Families of models that have a body of `BODIES` under a classifier."""


def _is_trained(model: Path) -> bool:
    return stated_family(model) in _TRAINED


def origin(model: Path, body: str) -> dict[str, Any]:
    """A checkpoint's digest and what it was made from, for the bundle's manifest."""
    family = stated_family(model) if _is_trained(model) else body
    return {"sha256": digest(model), **load_config(model, family).get("provenance", {})}


def made_from(
    data: Path, model: Path | None, body: str, surroundings: Path | None, *, random_init: bool
) -> dict[str, Any]:
    """What a run of labelled speech is made from, for its config."""
    return {
        "data": data.resolve().name,
        "random_init": random_init,
        "model": None if model is None else origin(model, body),
        **({} if surroundings is None else {"surroundings": surroundings.resolve().name}),
    }


def begun(
    recipe: KeywordsRecipe, model: Path | None, labels: tuple[str, ...], *, random_init: bool
) -> KeywordModel:
    """The keyword model before its first update."""
    made = KeywordModel(_body(recipe, model, random_init), labels)
    if model is not None and stated_family(model) == keywords.FAMILY and not random_init:
        stored = load_keywords(model)
        if stored.labels == labels:
            made.classifier.load_state_dict(stored.classifier.state_dict())
    return made


def check_teacher(
    recipe: PhonesRecipe, model: Path | None, teacher: Path | None, *, random_init: bool
) -> None:
    """Refuse a training of phones without the model that tells some, or with one too many.

    Raises:
        TrainError: recipe, `model` and `teacher` do not fit, or what is to teach is no phone model.
    """
    if recipe.unlabelled is None:
        if teacher is not None:
            raise RecipeError(
                "--teacher tells phones that nobody told, for a recipe with [unlabelled]; this one "
                "learns from known phones alone"
            )
    elif recipe.unlabelled.labels == "offline":
        teaching = teacher or model
        if teaching is None:
            raise RecipeError(
                "unlabelled.labels = 'offline' are a trained model's; name one of phones with "
                "--teacher, or with --model to start from it too"
            )
        load_config(teaching, phones.FAMILY)
    elif teacher is not None:
        raise RecipeError(
            "unlabelled.labels = 'momentum' are the student's own average's, which needs no "
            "--teacher; leave it out, or set unlabelled.labels=offline"
        )
    elif model is None or random_init:
        raise RecipeError(
            "unlabelled.labels = 'momentum' come of a student that knows phones; name a model of "
            "phones to start from with --model, and leave --random-init out"
        )
    else:
        load_config(model, phones.FAMILY)


def begun_phones(recipe: PhonesRecipe, model: Path | None, *, random_init: bool) -> PhoneModel:
    """The phone model before its first update; one that is to teach begins with all it knows."""
    made = PhoneModel(new_body(recipe, model, random_init=random_init))
    if recipe.unlabelled is None or model is None or random_init:
        return made
    if stated_family(model) == phones.FAMILY:
        made.classifier.load_state_dict(load_phones(model).classifier.state_dict())
    return made


def phone_teacher(
    config: UnlabelledConfig, student: PhoneModel, model: Path | None
) -> PhoneTeacher:
    """What tells the phones of unlabelled recordings: `model` as it is, or a follower."""
    if config.labels == "momentum":
        return PhoneTeacher(student)
    assert model is not None
    return PhoneTeacher(load_phones(model))


def _body(recipe: KeywordsRecipe, model: Path | None, random_init: bool) -> Body:
    if recipe.body != ENCODER:
        body: Body = new_body(recipe, model, random_init=random_init)
        _check_window(recipe, model, body)
        return body
    assert model is not None
    encoder = load_encoder(model)
    if random_init:
        encoder = Wav2Vec2Encoder(encoder.config)
    return pooled(encoder)


def new_body(
    recipe: KeywordsRecipe | PhonesRecipe, model: Path | None, *, random_init: bool
) -> Any:
    """A body of `BODIES`: new, or read from a checkpoint.

    Raises:
        RecipeError: the recipe asks for another body or other sizes than the checkpoint has.
    """
    kind, asked = BODIES[recipe.body], getattr(recipe, recipe.body)
    if model is None:
        return kind.build(asked)
    body: Any = body_of(model, recipe.body)
    found = body.config
    if asked not in (kind.config(), found):
        name = next(key for key in asdict(asked) if getattr(asked, key) != getattr(found, key))
        raise RecipeError(
            f"{model} has {recipe.body}.{name} {getattr(found, name)!r} where the recipe has "
            f"{getattr(asked, name)!r}; sizes come from the checkpoint: leave the recipe's out"
        )
    return kind.build(found) if random_init else body


def _check_window(recipe: KeywordsRecipe, model: Path | None, body: Any) -> None:
    fixed = getattr(body.config, "window_samples", recipe.window_samples)
    if model is not None and fixed != recipe.window_samples:
        raise RecipeError(
            f"{model} judges windows of {fixed} samples; set window_seconds to "
            f"{fixed / SAMPLE_RATE:g}"
        )


def body_of(model: Path, name: str) -> Body:
    """The body called `name` of a keyword or phone model, or of a pretraining.

    Raises:
        RecipeError: the model has another one, or none.
    """
    family = stated_family(model)
    if family not in _TRAINED:
        read = BODIES[name].load
        if read is None:
            raise RecipeError(
                f"a body {name!r} is read of a model of keywords or phones, and {model} is one of "
                f"{family!r}; name another, or leave it out"
            )
        return read(model)
    body: Body = _TRAINED[family](model).body
    if type(body) is not BODIES[name].build:
        raise RecipeError(
            f"{model} is a model of {family} with another body than the recipe's {name!r}, a "
            f"{type(body).__name__}; take a recipe of its body"
        )
    return body
