"""The recipe that a keyword is trained by."""

import pytest

from compress import CompressError
from compress.own_word.asking import Ask
from compress.own_word.steps import _recipe
from train.errors import RecipeError
from train.tasks.bodies import BODIES


def window_ms(recipe):
    return BODIES[recipe.body].build(getattr(recipe, recipe.body)).window_samples / 16


@pytest.mark.parametrize("name", ["spotter-tcn", "spotter-kwt-causal"])
def test_a_keyword_that_is_longer_than_a_body_hears_makes_it_hear_more(name):
    ask = Ask(text="hey otter", recipe=name)
    short, long = _recipe(ask, "hey otter", 600.0), _recipe(ask, "hey otter", 2_500.0)
    assert short == _recipe(ask, "hey otter")
    assert window_ms(short) < 2_500.0 <= window_ms(long) < 3_000.0
    longer_s = long.running.scene_seconds - short.running.scene_seconds
    assert longer_s == pytest.approx((2_500.0 - window_ms(short)) / 1e3, abs=0.01)


def test_the_keyword_is_the_one_label_and_wishes_are_heard():
    ask = Ask(text="hey otter", overrides=("updates=7",), seed=3)
    recipe = _recipe(ask, "it's \u201cme\u201d")
    assert (recipe.labels, recipe.updates, recipe.seed) == (("it's \u201cme\u201d",), 7, 3)


def test_a_recipe_of_clips_and_one_that_is_not_there_are_refused():
    with pytest.raises(CompressError, match="take spotter-tcn or a recipe with a table"):
        _recipe(Ask(text="hey otter", recipe="keywords-tcn"), "hey otter")
    with pytest.raises(RecipeError, match="there is no recipe 'spotter-tcm'"):
        _recipe(Ask(text="hey otter", recipe="spotter-tcm"), "hey otter")
