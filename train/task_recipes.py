"""Which kind of model a recipe of labelled speech trains: its `task` says it."""

from .keywords_recipe import KeywordsRecipe
from .phones_recipe import PhonesRecipe

TASKS: dict[str, type[KeywordsRecipe] | type[PhonesRecipe]] = {
    "keywords": KeywordsRecipe,
    "phones": PhonesRecipe,
}
"""Recipes by their `task`."""
