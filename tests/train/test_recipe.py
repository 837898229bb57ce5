"""A recipe is right, or one line says what is wrong and where."""

import pytest

from train.config import BatchConfig
from train.errors import RecipeError
from train.keywords_recipe import KeywordsRecipe
from train.objectives.hubert import Recipe as HubertRecipe
from train.recipe import check, load_recipe

GOOD = """
about = "a test"
objective = "hubert"
[encoder]
embed_dim = 32
conv_layers = [{ channels = 8, kernel = 10, stride = 5 }]
[[rounds]]
units = "mfcc"
num_clusters = 4
updates = 6
[[rounds]]
units = "layer"
layer = 1
num_clusters = 5
updates = 7
[optimizer]
learning_rate = 1e-3
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine-tiny.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "mine-base.toml").write_text(GOOD, encoding="utf-8")
    return tmp_path


def load(folder, *overrides, name="mine-tiny"):
    return load_recipe(name, HubertRecipe, folder, overrides)


def edited(folder, old, new):
    assert old in GOOD
    (folder / "mine-tiny.toml").write_text(GOOD.replace(old, new), encoding="utf-8")
    return folder


def test_a_recipe_fills_its_dataclass_and_the_rest_has_defaults(folder):
    recipe = load(folder)
    assert recipe.encoder.embed_dim == 32
    assert [stage.updates for stage in recipe.rounds] == [6, 7]
    assert recipe.optimizer.learning_rate == 1e-3
    assert recipe.batch == BatchConfig()


def test_a_path_that_ends_in_toml_is_a_file(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert load(elsewhere, name=str(folder / "mine-tiny.toml")) == load(folder)
    with pytest.raises(RecipeError, match=r"there is no recipe file .*none\.toml"):
        load(folder, name=str(folder / "none.toml"))


def test_an_unknown_name_gets_the_nearest(folder):
    with pytest.raises(RecipeError) as caught:
        load(folder, name="mine-tinny")
    assert "there is no recipe 'mine-tinny': did you mean 'mine-tiny'?" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "place", "nearest"),
    [
        ("[optimizer]", "sead = 3\n[optimizer]", "rounds.1.sead", None),
        ('objective = "hubert"', 'objective = "hubert"\nsead = 3', "sead", "seed"),
        ("learning_rate", "learning_rat", "optimizer.learning_rat", "learning_rate"),
        ("embed_dim", "embed_dims", "encoder.embed_dims", "embed_dim"),
        ("layer = 1", "lair = 1", "rounds.1.lair", "layer"),
        ("channels", "chanels", "encoder.conv_layers.0.chanels", "channels"),
    ],
)
def test_an_unknown_key_is_named_with_its_place_and_the_nearest(old, new, place, nearest, folder):
    with pytest.raises(RecipeError) as caught:
        load(edited(folder, old, new))
    message = str(caught.value)
    assert f"unknown key '{place}'" in message
    assert "mine-tiny.toml" in message
    assert "\n" not in message
    if nearest:
        assert f"did you mean '{nearest}'?" in message


def test_a_key_that_is_near_to_nothing_gets_the_list(folder):
    with pytest.raises(RecipeError, match=r"'optimizer\.zzz': known are learning_rate, warmup_upd"):
        load(edited(folder, "learning_rate", "zzz"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("updates = 6", 'updates = "six"', r"rounds\.0\.updates: .*valid integer"),
        ("updates = 6", "updates = 6.5", r"rounds\.0\.updates: .*valid integer"),
        ("updates = 6", "", r"rounds\.0\.updates: "),
        ("updates = 6", "updates = 0", r"rounds\.0: .*must be 1 or more"),
        ('objective = "hubert"', 'objective = "hubart"', r"objective: .*'hubert'"),
        ("learning_rate = 1e-3", "learning_rate = -1", "optimizer: learning_rate must be positive"),
        ("embed_dim = 32", "embed_dim = 30", "encoder: embed_dim 30 must be a multiple of"),
    ],
)
def test_a_value_that_breaks_a_rule_is_named_with_its_place(old, new, message, folder):
    with pytest.raises(RecipeError, match=message) as caught:
        load(edited(folder, old, new))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"a = ", b"\xff", b"a = 1\na = 2", b"[x\n"])
def test_a_file_that_is_no_toml_is_one_clear_error(text, folder):
    (folder / "mine-tiny.toml").write_bytes(text)
    with pytest.raises(RecipeError, match=r"mine-tiny\.toml is not valid TOML"):
        load(folder)


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=9", lambda recipe: recipe.seed == 9),
        ("optimizer.learning_rate=2e-4", lambda recipe: recipe.optimizer.learning_rate == 2e-4),
        ("optimizer.betas=[0.5, 0.6]", lambda recipe: recipe.optimizer.betas == (0.5, 0.6)),
        ("batch.seconds=99", lambda recipe: recipe.batch.seconds == 99.0),
        ("encoder.conv_norm=layer", lambda recipe: recipe.encoder.conv_norm == "layer"),
        ('encoder.conv_norm="layer"', lambda recipe: recipe.encoder.conv_norm == "layer"),
        ("encoder.pre_norm=true", lambda recipe: recipe.encoder.pre_norm is True),
        ("rounds.1.updates=70", lambda recipe: [r.updates for r in recipe.rounds] == [6, 70]),
        ("updates_are=odd", None),
        ("rounds.2.updates=1", None),
        ("rounds.x.updates=1", None),
        ("seed.deeper=1", None),
        ("objective.deeper=1", None),
        ("rounds.0=1", None),
        ("seed", None),
        ("=1", None),
        ("seed=", None),
        ("seed=nine", None),
        ("about=another text", None),
    ],
)
def test_a_value_from_the_command_line_replaces_the_recipes_or_is_refused(override, read, folder):
    if read is not None:
        assert read(load(folder, override))
        return
    with pytest.raises(RecipeError) as caught:
        load(folder, override)
    assert "\n" not in str(caught.value)


def test_of_two_values_for_a_key_the_last_one_counts(folder):
    assert load(folder, "seed=1", "batch.seconds=50", "seed=2").seed == 2


def test_an_override_may_open_a_table_that_the_recipe_lacks(folder):
    assert load(folder, "mask.prob=0.25").mask.prob == 0.25


def test_a_typo_in_an_override_gets_the_nearest_key(folder):
    with pytest.raises(RecipeError, match="did you mean 'learning_rate'"):
        load(folder, "optimizer.learning_rat=1e-3")
    with pytest.raises(RecipeError, match=r"unknown key 'optimiser': did you mean 'optimizer'"):
        load(folder, "optimiser.learning_rate=1e-3")


def test_values_that_are_no_table_are_refused():
    with pytest.raises(RecipeError, match="here"):
        check([1], KeywordsRecipe, "here")
