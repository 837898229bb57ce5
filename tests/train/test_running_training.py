"""A training on running sound: from corpora to scores, interrupted or not."""

import dataclasses
import json

import pytest

from train.config import BatchConfig, LogConfig, OptimizerConfig
from train.errors import DataError, RecipeError
from train.finetune import finetune
from train.keywords_recipe import KeywordsRecipe
from train.models.causal_keyword_transformer import CausalKeywordTransformerConfig
from train.tasks.augmenting import AugmentConfig
from train.tasks.keywords import load_keywords
from train.tasks.running import RunningConfig
from train.tasks.spotting import SpottingObjective

RECIPE = KeywordsRecipe(
    task="keywords",
    body="causal_keyword_transformer",
    causal_keyword_transformer=CausalKeywordTransformerConfig(
        embed_dim=8, num_layers=1, num_heads=1, head_dim=8, ffn_dim=8
    ),
    labels=("yes",),
    running=RunningConfig(scene_seconds=1.2),
    augment=AugmentConfig(max_shift_ms=0),
    updates=4,
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_updates=2),
    batch=BatchConfig(seconds=4.0, crop_seconds=2.0, min_seconds=0.3),
    log=LogConfig(log_every=1, checkpoint_every=2),
)


def run(recipe, corpus, out, *, resume=False, negatives=()):
    return finetune(
        recipe, corpus, None, out, random_init=False, resume=resume, negatives=negatives
    )


@pytest.fixture(scope="module")
def spotter(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("spotter") / "run"
    run(RECIPE, corpus, out)
    return out


@pytest.mark.parametrize("at", [1, 3])
def test_a_training_stopped_at_an_update_ends_as_if_it_were_not(
    at, spotter, corpus, tmp_path, stopping, assert_same_run
):
    out = tmp_path / "run"
    with stopping(SpottingObjective, "forward", at=at):
        run(RECIPE, corpus, out)
    run(RECIPE, corpus, out, resume=True)
    assert_same_run(spotter, out)


def test_what_is_no_keyword_counts_as_nothing_said(spotter):
    assert load_keywords(spotter / "model").labels == ("_unknown_", "yes")
    scores = json.loads((spotter / "scores.json").read_text())
    assert scores["labels"] == ["_unknown_", "yes"]
    # of each partition's three clips one says yes; the others are a tone and hiss
    for partition in ("valid", "test"):
        assert [sum(row) for row in scores[partition]["confusion"]] == [2, 1]


def test_negatives_are_heard_and_told_of(corpus, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("train.run.fit", lambda learner, *_, **__: seen.append(learner))
    for number, negatives in enumerate([(), (corpus, corpus)]):
        run(RECIPE, corpus, tmp_path / str(number), negatives=negatives)
    alone, more = (learner.objective.stage.speech.hours for learner in seen)
    assert more > 2.9 * alone  # hiss, which is noise in the corpus itself, is speech of others'
    told = json.loads((tmp_path / "1/config.json").read_text())["from"]["negatives"]
    assert told == [corpus.name] * 2


def test_running_sound_needs_speech_without_the_keywords(corpus, tmp_path):
    recipe = dataclasses.replace(RECIPE, labels=("no", "yes"))
    with pytest.raises(DataError, match=r"give some with --negatives"):
        run(recipe, corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_negatives_are_for_running_sound(corpus, tmp_path):
    clips = dataclasses.replace(RECIPE, running=None)
    with pytest.raises(RecipeError, match=r"a recipe with \[running\]"):
        run(clips, corpus, tmp_path / "run", negatives=[corpus])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body": "ds_cnn"}, "or take a causal body"),
        ({"augment": AugmentConfig(max_shift_ms=10)}, "max_shift_ms and augment.max_lead_ms to 0"),
        ({"augment": AugmentConfig(max_shift_ms=0, max_lead_ms=5)}, "place their words themselves"),
    ],
)
def test_what_does_not_go_with_running_sound_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **changes)
