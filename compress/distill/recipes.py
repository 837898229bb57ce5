"""Which kind of supernet a recipe trains: its `scheme` says it."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

from train.errors import RecipeError
from train.nearest import nearest
from train.recipe import find_recipe, load_recipe

from .in_place import KeywordSupernetRecipe
from .stages import DistillRecipe

SCHEMES: dict[str, type[DistillRecipe] | type[KeywordSupernetRecipe]] = {
    "lighthubert": DistillRecipe,
    "in_place": KeywordSupernetRecipe,
}
"""Recipes by their `scheme`."""


def load_distillation(
    name: str, folder: Path, overrides: Iterable[str] = ()
) -> DistillRecipe | KeywordSupernetRecipe:
    """Read a recipe of whatever scheme it names; arguments and errors as for `load_recipe`."""
    path = find_recipe(name, folder)
    try:
        scheme = tomllib.loads(path.read_text(encoding="utf-8")).get("scheme")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise RecipeError(f"{path} is not valid TOML: {fault}") from None
    if scheme not in SCHEMES:
        said = "has no scheme" if scheme is None else f"has scheme {scheme!r}"
        raise RecipeError(f"{path} trains no supernet: it {said}, {nearest(str(scheme), SCHEMES)}")
    return load_recipe(name, SCHEMES[scheme], folder, overrides)
