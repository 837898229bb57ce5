"""A training of phones, from a corpus to error rates, and what starts from its model."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch

from train.beginning import new_body
from train.config import BatchConfig, LogConfig, OptimizerConfig
from train.errors import DataError, RecipeError
from train.finetune import finetune
from train.keywords_recipe import KeywordsRecipe
from train.models.causal_tcn import CausalTcnConfig
from train.models.wav2vec2 import save_encoder
from train.phone_training import train_phones
from train.phones_recipe import PhonesRecipe
from train.tasks.augmenting import AugmentConfig
from train.tasks.keywords import load_keywords
from train.tasks.phones import PhoneObjective, load_phones

TCN = CausalTcnConfig(channels=8, dilations=(1, 2))
RECIPE = PhonesRecipe(
    task="phones",
    body="causal_tcn",
    causal_tcn=TCN,
    updates=4,
    augment=AugmentConfig(max_shift_ms=0),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_updates=2),
    batch=BatchConfig(seconds=4.0, crop_seconds=2.0, min_seconds=0.3),
    log=LogConfig(log_every=1, checkpoint_every=2),
)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Hiss that says it is phones; one is too long, and what one says nobody knows."""
    root = tmp_path_factory.mktemp("spoken")
    rng = np.random.default_rng(0)
    lines = ["path,text,split,phones"]
    partitions = ["train"] * 4 + ["valid", "test", "train", "train"]
    for number, partition in enumerate(partitions):
        seconds = 2.5 if number == 6 else 0.6 + number / 10
        soundfile.write(root / f"{number}.wav", rng.normal(0, 0.1, round(seconds * 16_000)), 16_000)
        lines.append(f"{number}.wav,,{partition},{'' if number == 7 else 'AA B AA'}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def trained(spoken, tmp_path_factory):
    out = tmp_path_factory.mktemp("phones") / "run"
    train_phones(RECIPE, spoken, out)
    return out


@pytest.mark.parametrize("at", [1, 3])
def test_a_training_stopped_at_an_update_ends_as_if_it_were_not(
    at, trained, spoken, tmp_path, stopping, assert_same_run
):
    out = tmp_path / "run"
    with stopping(PhoneObjective, "forward", at=at):
        train_phones(RECIPE, spoken, out)
    train_phones(RECIPE, spoken, out, resume=True)
    assert_same_run(trained, out)


def test_error_rates_are_those_of_the_partitions(trained):
    scores = json.loads((trained / "scores.json").read_text())
    assert {name: row["phones"] for name, row in scores.items()} == {"valid": 3, "test": 3}


def test_long_recordings_and_those_without_words_are_not_learned_from(
    spoken, tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr("train.run.fit", lambda _, source, *__, **___: seen.append(source))
    train_phones(RECIPE, spoken, tmp_path / "run")
    assert sorted(seen[0].cuts.ids) == [f"{number}.wav" for number in range(4)]


def test_recordings_that_are_all_too_long_are_an_error(spoken, tmp_path):
    batch = BatchConfig(seconds=4.0, crop_seconds=0.5, min_seconds=0.3)
    with pytest.raises(DataError, match=r"at most 0.5 s says anything"):
        train_phones(dataclasses.replace(RECIPE, batch=batch), spoken, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_goes_on_from_a_model_of_phones(trained, spoken, tmp_path):
    recipe = dataclasses.replace(RECIPE, optimizer=OptimizerConfig(learning_rate=1e-9))
    train_phones(recipe, spoken, tmp_path / "run", model=trained / "model")
    before, after = (load_phones(run / "model") for run in (trained, tmp_path / "run"))
    for name, weight in before.body.named_parameters():
        assert torch.allclose(dict(after.body.named_parameters())[name], weight, atol=1e-6)


def test_keywords_start_from_a_model_of_phones(trained, corpus, tmp_path):
    recipe = KeywordsRecipe(
        task="keywords",
        body="causal_tcn",
        updates=0,
        optimizer=OptimizerConfig(),
        batch=BatchConfig(seconds=4.0, crop_seconds=1.0, min_seconds=0.3),
        min_clips_per_label=1,
    )
    finetune(recipe, corpus, trained / "model", tmp_path / "run", random_init=False, resume=False)
    made, of_phones = (
        load_keywords(tmp_path / "run/model").body,
        load_phones(trained / "model").body,
    )
    for name, tensor in of_phones.state_dict().items():
        assert torch.equal(made.state_dict()[name], tensor)
    told = json.loads((tmp_path / "run/config.json").read_text())["from"]["model"]
    assert set(told) == {"sha256"}


def test_a_body_that_is_not_causal_is_refused():
    with pytest.raises(ValueError, match="by a causal body, and 'ds_cnn' is none"):
        dataclasses.replace(RECIPE, body="ds_cnn")


def test_another_body_than_the_models_is_refused(trained, spoken, tmp_path):
    recipe = dataclasses.replace(RECIPE, body="causal_keyword_transformer")
    with pytest.raises(RecipeError, match="take a recipe of its body"):
        train_phones(recipe, spoken, tmp_path / "run", model=trained / "model")


def test_a_model_without_such_a_body_is_refused(make_encoder, tmp_path):
    teacher = make_encoder()
    save_encoder(tmp_path / "teacher", teacher.config, teacher.state_dict(), provenance={})
    with pytest.raises(RecipeError, match="read of a model of keywords or phones"):
        new_body(RECIPE, tmp_path / "teacher", random_init=False)
