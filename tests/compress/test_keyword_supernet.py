"""Keyword supernets: what an update trains, and that a stopped training ends as a whole one."""

import json

import numpy as np
import pytest
import torch
from tiny_keyword_spaces import CNNS, SPACES, TRANSFORMERS, recipe, tiny_spaces_known  # noqa: F401
from torch.nn import functional

from compress import CompressError
from compress.distill.in_place import InPlace
from compress.distill.keyword_training import train_keyword_supernet
from compress.distill.recipes import load_distillation
from compress.folders import recipe_folder
from compress.heard_once import heard_once
from compress.keyword_clips import drawn, settle_norms
from compress.keyword_spaces import Choice, KeywordSpace
from compress.keyword_supernet import (
    KeywordSupernet,
    load_keyword_supernet,
    materialize,
    save_keyword_supernet,
)
from compress.subnet import SubnetError
from train import run
from train.data.batches import Batch
from train.data.rooms import Surroundings
from train.errors import DataError, RecipeError, TrainError
from train.labelled import read_clips
from train.models.ds_cnn import DsCnnConfig
from train.models.frontend import FrontEnd
from train.seeding import Draws, seeded
from train.tasks.augmenting import AugmentConfig, striped

LABELS = ("_silence_", "no", "yes")


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


def make(space):
    with seeded(5):
        return KeywordSupernet(space, LABELS)


@pytest.fixture(scope="module")
def clips(corpus):
    return read_clips(recipe("tiny-kwt"), corpus)


def objective(supernet, clips, **changes):
    asked = recipe(supernet.space.name, **changes)
    return InPlace(
        supernet,
        clips.variation(asked.augment, Surroundings()),
        window_samples=asked.window_samples,
        label_smoothing=asked.label_smoothing,
        num_random=asked.num_random,
    )


def batch_of(*labels):
    waveform = 0.1 * torch.randn(len(labels), 8_000, generator=torch.Generator().manual_seed(0))
    return Batch(
        cut_ids=[f"cut{row}" for row in range(len(labels))],
        waveform=waveform,
        lengths=torch.full((len(labels),), 8_000),
        num_samples=[8_000] * len(labels),
        starts=[0] * len(labels),
        labels=list(labels),
        rows=list(range(len(labels))),
        step=0,
    )


def test_the_largest_learns_labels_and_the_others_its_answers(space, clips):
    supernet = make(space).train()
    trained = objective(supernet, clips)
    batch = batch_of("no", "yes", "_silence_", "no", "yes", "no")
    draws = Draws(3, 7)
    loss = trained(batch, draws)
    assert loss.count == 6
    subnets = trained.subnets(draws)
    assert subnets[0] == space.largest()
    assert subnets[1] == space.smallest()
    assert len(subnets) == 3

    # The same, written plainly: every model hears the largest one's features, stripes and all.
    waveform, wanted, rngs = trained.varied(batch, draws)
    features = []
    with (
        striped(supernet.wiring(subnets[0]), trained.variation.config.stripes, rngs),
        heard_once(supernet.wiring(subnets[0]), features),
    ):
        largest = supernet(subnets[0], waveform)
    target = largest.detach().softmax(-1)
    parts = [functional.cross_entropy(largest, wanted, label_smoothing=0.1, reduction="sum")]
    for subnet in subnets[1:]:
        with heard_once(supernet.wiring(subnet), features):
            log_posteriors = supernet(subnet, waveform).log_softmax(-1)
        parts.append(-(target * log_posteriors).sum())
    torch.testing.assert_close(loss.total, sum(parts) / 3)


def test_the_answers_that_are_learned_get_no_gradient(clips):
    """Only labels move what the largest alone is made of."""
    supernet = make(TRANSFORMERS).train()
    trained = objective(supernet, clips, num_random=0)
    batch = batch_of("no", "yes", "yes")
    trained(batch, Draws(0, 0)).total.backward()
    only = supernet.model.body.layers[1].ffn.up.weight.grad.clone()
    supernet.zero_grad()
    waveform, wanted, rngs = trained.varied(batch, Draws(0, 0))
    largest = TRANSFORMERS.largest()
    with striped(supernet.wiring(largest), trained.variation.config.stripes, rngs):
        logits = supernet(largest, waveform)
    loss = functional.cross_entropy(logits, wanted, label_smoothing=0.1, reduction="sum") / 2
    loss.backward()
    torch.testing.assert_close(only, supernet.model.body.layers[1].ffn.up.weight.grad)


def test_subnets_of_an_update_are_the_same_in_every_pass_and_differ_between_updates(clips):
    trained = objective(make(TRANSFORMERS), clips, num_random=3)
    drawn_ones = [trained.subnets(Draws(1, update)) for update in (0, 0, 1, 2, 3)]
    assert drawn_ones[0] == drawn_ones[1]
    assert len(set(drawn_ones)) > 2


@pytest.fixture(scope="module", params=SPACES)
def whole(request, corpus, tmp_path_factory):
    """A training that nothing interrupted: recipe, folder."""
    asked = recipe(request.param)
    out = tmp_path_factory.mktemp("supernet") / "run"
    train_keyword_supernet(asked, corpus, out, resume=False)
    return asked, out


@pytest.mark.parametrize("at", [1, 3])
def test_a_training_stopped_at_an_update_ends_as_if_it_were_not(
    at, whole, corpus, tmp_path, stopping, assert_same_run
):
    asked, out = whole
    with stopping(InPlace, "forward", at=at):
        train_keyword_supernet(asked, corpus, tmp_path / "run", resume=False)
    train_keyword_supernet(asked, corpus, tmp_path / "run", resume=True)
    assert_same_run(out, tmp_path / "run")


def test_a_finished_training_is_not_trained_again(whole, corpus, monkeypatch):
    asked, out = whole
    monkeypatch.setattr(run, "fit", None)
    assert train_keyword_supernet(asked, corpus, out, resume=True) == out / "model"


def test_scores_are_those_of_the_extremes_with_norms_of_their_own(whole, corpus):
    asked, out = whole
    clips = read_clips(asked, corpus)
    supernet = load_keyword_supernet(out / "model").eval()
    scores = json.loads((out / "scores.json").read_text())["valid"]
    assert scores.keys() == {"largest", "smallest"}
    heard = drawn(clips, "train", None, window_samples=8_000, seed=0)
    valid = drawn(clips, "valid", None, window_samples=8_000, seed=0)
    assert len(valid.wanted) == 3
    for name in scores:
        model = materialize(supernet, getattr(supernet.space, name)())
        settle_norms(model, heard)
        assert valid.accuracy(model) == scores[name]
        if name == "largest":  # what is stored is the largest model, ready to answer
            waveform = valid.waveforms[0]
            with torch.no_grad():
                torch.testing.assert_close(model(waveform), supernet.model(waveform))


def test_settled_norms_are_means_over_what_was_heard(clips):
    model = materialize(make(CNNS).eval(), CNNS.smallest())
    heard = drawn(clips, "train", None, window_samples=8_000, seed=0)
    settle_norms(model, heard)
    assert not any(part.training for part in model.modules())
    features = model.body.frontend(torch.cat(heard.waveforms))
    torch.testing.assert_close(model.body.input_norm.running_mean, features.mean((0, 1)))
    torch.testing.assert_close(
        model.body.input_norm.running_var, features.flatten(0, 1).var(0), rtol=1e-4, atol=1e-5
    )
    assert model.body.input_norm.momentum == 0.1


def test_a_front_end_is_run_once_for_all_models(clips, monkeypatch):
    calls = []
    original = FrontEnd.forward
    monkeypatch.setattr(
        FrontEnd, "forward", lambda self, waveform: calls.append(0) or original(self, waveform)
    )
    heard = drawn(clips, "train", None, window_samples=8_000, seed=0)
    supernet = make(TRANSFORMERS).eval()
    models = [materialize(supernet, subnet) for subnet in list(TRANSFORMERS.every())[:5]]
    found = [heard.logits(model) for model in models]
    assert len(calls) == len(heard.waveforms)
    with torch.no_grad():
        for model, logits in zip(models, found, strict=True):
            assert torch.equal(model(torch.cat(heard.waveforms)), logits)


def test_a_checkpoint_gives_it_back(space, tmp_path):
    supernet = make(space)
    save_keyword_supernet(tmp_path / "model", supernet, provenance={"data": "any"})
    back = load_keyword_supernet(tmp_path / "model")
    assert back.space == supernet.space
    assert back.space.num_labels == 3
    assert back.model.labels == LABELS
    states = supernet.state_dict()
    assert states.keys() == back.state_dict().keys()
    assert all(torch.equal(tensor, states[name]) for name, tensor in back.state_dict().items())
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "space": "otolite-tiny"}))
    with pytest.raises(CompressError, match="one of encoders"):
        load_keyword_supernet(tmp_path / "model")
    with pytest.raises(TrainError):
        load_keyword_supernet(tmp_path / "none")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"embed_dim": 5}, "embed_dim 5 is not in space 'tiny-kwt'; choose one of 4, 8, 12"),
        ({"embed_dim": [4]}, "embed_dim of space 'tiny-kwt' must be one number"),
        ({"embed": 4}, "unknown key 'embed' in a subnet: did you mean 'embed_dim'"),
        ({"space": "tiny-cnn"}, "chosen from space 'tiny-cnn', not 'tiny-kwt'"),
    ],
)
def test_a_subnet_of_other_sizes_is_refused(written, message):
    good = json.loads(TRANSFORMERS.smallest().to_json())
    with pytest.raises(SubnetError, match=message):
        TRANSFORMERS.read(good | written)
    del good["ffn_dim"]
    with pytest.raises(SubnetError, match="has the sizes embed_dim, num_heads, ffn_dim"):
        TRANSFORMERS.read(good)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((Choice(size="channels", values=(4, 2)),), "ascending choices"),
        ((Choice(size="channels", values=(2, 4)),), "the last of all choices"),
        ((Choice(size="channels", values=tuple(range(1, 200_000))),), "1 to 100,000 subnets"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        KeywordSpace(name="bad", body="ds_cnn", full=DsCnnConfig(channels=6), choices=choices)


def test_what_a_body_cannot_hear_is_refused_before_anything_is_read(corpus, tmp_path):
    for changes, message in (
        ({"window_seconds": 1.0}, "judges no other window"),
        ({"streaming": "incremental"}, "needs a causal body"),
    ):
        with pytest.raises(RecipeError, match=message):
            train_keyword_supernet(
                recipe("tiny-kwt", **changes), corpus / "none", tmp_path / "run", resume=False
            )
    with pytest.raises(RecipeError, match="max_lead_ms"):
        train_keyword_supernet(
            recipe("tiny-kwt", augment=AugmentConfig(max_lead_ms=10)),
            corpus,
            tmp_path / "run",
            resume=False,
        )
    assert not (tmp_path / "run").exists()


def test_a_recipe_says_by_its_scheme_what_it_trains(tmp_path):
    with pytest.raises(RecipeError, match="cannot be used here: it has no scheme"):
        load_distillation("prune-tiny", recipe_folder("compress"))
    path = tmp_path / "my.toml"
    path.write_text('scheme = "inplace"\n')
    with pytest.raises(RecipeError, match="did you mean 'in_place'"):
        load_distillation(str(path), tmp_path)
    path.write_text("scheme = \n")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_distillation(str(path), tmp_path)


def test_clips_are_drawn_by_a_seed_and_missing_ones_are_told(clips):
    first, again, other = (
        drawn(clips, "train", 5, window_samples=8_000, seed=seed) for seed in (0, 0, 1)
    )
    assert len(first.wanted) == 5
    assert torch.equal(torch.cat(first.waveforms), torch.cat(again.waveforms))
    assert not torch.equal(torch.cat(first.waveforms), torch.cat(other.waveforms))
    with pytest.raises(DataError, match="no clips of the labels in its elsewhere partition"):
        drawn(clips, "elsewhere", 5, window_samples=8_000, seed=0)
    assert np.isfinite(first.waveforms[0].numpy()).all()
