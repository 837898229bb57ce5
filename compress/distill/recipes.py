"""Which kind of supernet a recipe trains: its `scheme` says it."""

from collections.abc import Iterable
from pathlib import Path

from train.recipe import load_kind

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
    return load_kind(name, "scheme", SCHEMES, folder, overrides)
