"""What a keyword model is before its first update: new, or from a checkpoint."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from .errors import RecipeError
from .keywords_recipe import KeywordsRecipe
from .models.checkpoints import digest, load_config, stated_family
from .models.frontend import SAMPLE_RATE
from .models.wav2vec2 import Wav2Vec2Encoder, load_encoder
from .tasks.bodies import BODIES, ENCODER, Body
from .tasks.keywords import FAMILY, KeywordModel, load_keywords, pooled


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


def _is_keywords(model: Path | None) -> bool:
    return model is not None and stated_family(model) == FAMILY


def origin(model: Path, body: str) -> dict[str, Any]:
    """A checkpoint's digest and what it was made from, for the bundle's manifest."""
    family = FAMILY if _is_keywords(model) else body
    return {"sha256": digest(model), **load_config(model, family).get("provenance", {})}


def begun(
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
