"""Every recipe that ships, the day it ships."""

import tomllib

import pytest

from compress.distill.recipes import SCHEMES
from compress.distill.stages import DistillRecipe
from compress.folders import recipe_folder
from compress.prune.recipe import PruneRecipe
from compress.spaces import get_space
from train.errors import RecipeError
from train.objectives.hubert import Recipe as HubertRecipe
from train.pretrain import get_objective, load_pretraining
from train.recipe import load_recipe
from train.task_recipes import TASKS

KINDS = {
    ("train", "objective"): lambda name: get_objective(name).Recipe,
    ("train", "task"): TASKS.__getitem__,
    ("compress", "scheme"): SCHEMES.__getitem__,
    ("compress", "method"): lambda _: PruneRecipe,
}
"""Package and the key that says what kind of recipe it is, to its dataclass by the key's value."""

PATHS = [
    path
    for package in ("train", "compress")
    for path in sorted(recipe_folder(package).glob("*.toml"))
]

PRETRAINING = [
    path
    for path in PATHS
    if path.parent.parent.name == "train" and "objective" in tomllib.loads(path.read_text("utf-8"))
]


def kind_of(path):
    """The recipe's dataclass, and what it trains by."""
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    package = path.parent.parent.name
    (kind,) = [kind for kind in KINDS if kind[0] == package and kind[1] in values]
    return KINDS[kind](values[kind[1]]), values[kind[1]]


def load(path, *overrides):
    if path in PRETRAINING:
        return load_pretraining(path.stem, path.parent, overrides)
    return load_recipe(path.stem, kind_of(path)[0], path.parent, overrides)


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_it_fills_its_dataclass(path):
    assert isinstance(load(path), kind_of(path)[0])


def test_it_says_in_a_line_what_it_is_for(path):
    about = tomllib.loads(path.read_text(encoding="utf-8"))["about"]
    assert 10 < len(about) < 120
    assert "\n" not in about


def test_it_takes_a_seed_and_refuses_a_typo(path):
    assert load(path, "seed=7").seed == 7
    with pytest.raises(RecipeError, match="did you mean 'seed'"):
        load(path, "sed=7")


def test_there_is_a_tiny_twin_that_trains_the_same_way(path):
    # keywords-ds-cnn needs no twin of its own: it is as quick as keywords-tiny
    twins = [
        other for other in PATHS if other.stem.endswith("-tiny") and kind_of(other) == kind_of(path)
    ]
    assert twins
    assert any(path.stem.startswith(twin.stem.removesuffix("-tiny")) for twin in twins)


def of_kind(schema):
    return [pytest.param(path, id=path.stem) for path in PATHS if kind_of(path)[0] is schema]


@pytest.mark.parametrize("path", of_kind(HubertRecipe))
def test_a_round_learns_from_a_layer_that_its_encoder_has(path):
    recipe = load(path)
    for stage in recipe.rounds:
        if stage.units == "layer":
            assert stage.layer <= recipe.encoder.num_layers


@pytest.mark.parametrize("path", of_kind(DistillRecipe))
def test_a_distillation_fits_the_space_and_the_teacher_of_its_size(path):
    recipe = load(path)
    space = get_space(recipe.space)
    teacher = "hubert-tiny" if path.stem.endswith("-tiny") else "hubert-base"
    encoder = load(recipe_folder("train") / f"{teacher}.toml").encoder
    strides = [
        [(conv.kernel, conv.stride) for conv in config.conv_layers]
        for config in (encoder, space.supernet)
    ]
    assert strides[0] == strides[1]
    assert recipe.top_layers <= encoder.num_layers


def test_recipes_are_found():
    assert {"hubert-base", "hubert-tiny", "keywords-tiny", "lighthubert-tiny"} <= {
        path.stem for path in PATHS
    }
