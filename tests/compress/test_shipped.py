"""What ships with the package is whole, small, and says what it was trained on."""

import json
from pathlib import Path

import pytest
import torch

from compress.folders import recipe_folder
from compress.shipped import PHONES, SHIPPED, model_in, shipped
from compress.spaces import get_space
from compress.supernet import load_supernet
from train.keywords_recipe import KeywordsRecipe
from train.recipe import load_recipe
from train.tasks.phones import load_phones

MOST_BYTES = 4_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_supernet_loads_and_names_its_data_and_licence(name):
    folder = shipped(name)
    supernet = load_supernet(folder)
    assert supernet.space == get_space(name)
    tensors = supernet.state_dict().values()
    assert all(tensor.dtype == torch.float32 for tensor in tensors)
    assert all(torch.isfinite(tensor).all() for tensor in tensors)
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    assert "licence" in json.dumps(json.loads((folder / "config.json").read_text())["provenance"])


def test_the_shipped_phones_have_the_body_of_the_recipe_that_starts_from_them():
    folder = model_in(Path(PHONES))
    model = load_phones(folder)
    recipe = load_recipe("spotter-tcn", KeywordsRecipe, recipe_folder("train"))
    assert model.body.config == recipe.causal_tcn
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    assert "licence" in json.dumps(json.loads((folder / "config.json").read_text())["provenance"])


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / PHONES).mkdir()
    assert model_in(Path(PHONES)) == Path(PHONES)
