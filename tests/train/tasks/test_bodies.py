"""Each body of the registry is one that recipes can ask for and checkpoints can hold."""

import dataclasses
import json
import typing

import pytest
import torch

from train.errors import RecipeError, TrainError
from train.keywords_recipe import KeywordsRecipe
from train.recipe import check
from train.tasks.bodies import BODIES
from train.tasks.keywords import KeywordModel, load_keywords, save_keywords


@pytest.fixture(params=BODIES)
def name(request):
    return request.param


def test_a_recipe_has_a_table_of_its_sizes(name):
    assert typing.get_type_hints(KeywordsRecipe)[name] is BODIES[name].config


def test_a_checkpoint_gives_it_back(name, tmp_path):
    kind = BODIES[name]
    model = KeywordModel(kind.build(kind.config()), ("no", "yes")).eval()
    save_keywords(tmp_path / "model", model)
    back = load_keywords(tmp_path / "model").eval()
    assert dataclasses.asdict(back.body.config) == dataclasses.asdict(model.body.config)
    waveform = torch.linspace(-0.3, 0.3, 16_000).sin().unsqueeze(0)
    with torch.inference_mode():
        assert torch.equal(back(waveform), model(waveform))


def test_a_name_that_is_none_is_answered_with_the_nearest(tmp_path):
    batch = {"seconds": 1.0, "crop_seconds": 1.0, "min_seconds": 0.3}
    recipe = {"task": "keywords", "body": "ds_cn", "updates": 1, "optimizer": {}, "batch": batch}
    with pytest.raises(RecipeError, match="did you mean 'ds_cnn'"):
        check(recipe, KeywordsRecipe, "a recipe")
    kind = BODIES["ds_cnn"]
    save_keywords(tmp_path / "model", KeywordModel(kind.build(kind.config()), ("a",)))
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "body": "ds_cm"}))
    with pytest.raises(TrainError, match="there is no body 'ds_cm'; did you mean 'ds_cnn'"):
        load_keywords(tmp_path / "model")
