"""A search for keyword models: it keeps its budget, resumes, and ends with a run to export."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_keyword_spaces import CNNS, TRANSFORMERS, recipe, tiny_spaces_known  # noqa: F401

from compress import BudgetError, CallError, CompressError
from compress.any_space import read_subnet
from compress.budget import Budget
from compress.cost.keyword_bodies import keyword_costs
from compress.cost.latency import DeviceTable, definition, space_blocks
from compress.cost.model_times import NUM_MODELS, ModelTimes, timed_models
from compress.distill.keyword_training import train_keyword_supernet
from compress.feasible import feasibility, feasible_set
from compress.keyword_clips import drawn, settle_norms
from compress.keyword_space_table import KEYWORD_SPACES
from compress.keyword_supernet import load_keyword_supernet, materialize
from compress.search.config import SearchConfig
from compress.search.keyword_models import KeywordModels
from compress.search.study import run_search
from compress.search.subject import Places
from compress.search.winner import search
from train.labelled import read_clips
from train.tasks.keywords import load_keywords

COSTS = {subnet: keyword_costs(TRANSFORMERS, subnet) for subnet in TRANSFORMERS.every()}


def middle(cost):
    return sorted(costs[cost] for costs in COSTS.values())[len(COSTS) // 2]


@pytest.fixture(scope="module")
def supernet(corpus, tmp_path_factory):
    """A run folder; its models have norms to settle."""
    out = tmp_path_factory.mktemp("supernet") / "run"
    train_keyword_supernet(recipe("tiny-cnn"), corpus, out, resume=False)
    return out


@pytest.fixture
def unmeasured(monkeypatch):
    """Exporting and timing take seconds, and the command line's test does both."""
    monkeypatch.setattr(
        "compress.search.keyword_models.measured_keywords", lambda *_args, **_settings: {}
    )


@pytest.mark.parametrize(
    "limits", [{"params": middle("params")}, {"macs": middle("macs"), "params": middle("params")}]
)
def test_what_fits_is_what_a_plain_list_says(limits):
    budget = Budget(**limits)
    fitting = [subnet for subnet, costs in COSTS.items() if budget.holds(costs)]
    within = feasible_set(TRANSFORMERS, budget)
    assert [within.at(rank) for rank in range(within.count)] == fitting
    assert within.sample(np.random.default_rng(0)) in fitting
    most = max(COSTS[subnet]["params"] for subnet in fitting)
    assert COSTS[within.largest()]["params"] == most
    found = feasibility(TRANSFORMERS, budget)
    assert found.num_within == len(fitting)
    assert found.num_subnets == len(COSTS)
    assert found.largest_costs == COSTS[TRANSFORMERS.largest()]
    with pytest.raises(IndexError):
        within.at(within.count)


def test_a_budget_that_nothing_keeps_is_refused_with_the_least_that_is_possible():
    least = min(costs["params"] for costs in COSTS.values())
    with pytest.raises(BudgetError, match=f"the least is {least:,} parameters"):
        feasibility(TRANSFORMERS, Budget(params=10))
    with pytest.raises(CallError, match="--size-mb limits the graphs of encoders"):
        feasibility(TRANSFORMERS, Budget(size_bytes=10**6))


def score(subnet):
    """Prefers width over depth."""
    sizes = dict(subnet.sizes)
    return 10.0 - sizes["embed_dim"] + 3 * sizes["num_layers"] - sizes["ffn_dim"] / 10


def run_tiny(storage, score=score, **more):
    return run_search(
        TRANSFORMERS,
        budget=Budget(params=middle("params")),
        num_trials=6,
        population=3,
        seed=1,
        storage=storage,
        score=score,
        **more,
    )


def test_a_killed_search_ends_as_an_undisturbed_one(tmp_path):
    whole = run_tiny(tmp_path / "whole.db")
    scored = [found for found in whole.candidates if found.verdict == "scored"]
    assert len(scored) == 6
    assert all(COSTS[found.subnet]["params"] <= middle("params") for found in scored)
    calls = []

    def dying(subnet):
        calls.append(subnet)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return score(subnet)

    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "study.db", dying)
    assert run_tiny(tmp_path / "study.db", resume=True) == whole


def test_every_model_that_fits_is_scored_where_there_are_trials_enough(tmp_path):
    fitting = [subnet for subnet, costs in COSTS.items() if costs["params"] <= middle("params")]
    found = run_search(
        TRANSFORMERS,
        budget=Budget(params=middle("params")),
        num_trials=1000,
        population=4,
        seed=0,
        storage=tmp_path / "study.db",
        score=score,
    )
    scored = {candidate.subnet for candidate in found.candidates if candidate.score is not None}
    assert scored == set(fitting)
    assert found.score == min(map(score, fitting))


def asked(space, **changes):
    limit = sum(
        keyword_costs(space, subnet)["params"] for subnet in (space.smallest(), space.largest())
    )
    return SearchConfig(
        **({"target_params": limit // 2, "num_trials": 4, "population": 2, "num_clips": 3})
        | changes
    )


def test_the_winner_is_a_run_that_was_cut_settled_and_scored(
    supernet, corpus, tmp_path, unmeasured
):
    loaded = load_keyword_supernet(supernet / "model").eval()
    config = asked(loaded.space)
    places = Places(supernet=supernet, data=corpus, out=tmp_path / "found")
    found = search(config, places, resume=False)
    best = found.result.best
    assert best.costs["params"] <= config.target_params

    clips = read_clips(recipe(loaded.space.name), corpus)
    cut = materialize(loaded, best.subnet)
    settle_norms(cut, drawn(clips, "train", None, window_samples=8_000, seed=0))
    valid = drawn(clips, "valid", None, window_samples=8_000, seed=0)
    assert found.result.score == pytest.approx(valid.loss(cut))
    for folder in (found.model, tmp_path / "found" / "keywords" / "model"):
        saved = load_keywords(folder)
        assert saved.body.config == cut.body.config
        for name, tensor in cut.state_dict().items():
            assert torch.equal(tensor, saved.state_dict()[name]), name
    winner = found.record["winner"]
    assert winner["accuracy"]["valid"] == pytest.approx(valid.accuracy(cut))
    assert winner["fine_tuned"] is None
    assert read_subnet(json.dumps(winner["subnet"])) == best.subnet

    before = (tmp_path / "found" / "search.json").read_bytes()
    search(config, places, resume=True)
    assert (tmp_path / "found" / "search.json").read_bytes() == before


def test_a_search_killed_while_its_winner_trains_goes_on(
    supernet, corpus, tmp_path, stopping, assert_same_run, unmeasured
):
    from train.tasks.keywords import KeywordObjective

    space = load_keyword_supernet(supernet / "model").space
    config = asked(space, polish_updates=3)
    whole, stopped = (
        Places(supernet=supernet, data=corpus, out=tmp_path / name) for name in ("whole", "stopped")
    )
    first = search(config, whole, resume=False).record["winner"]
    assert first["fine_tuned"]["updates"] == 3
    with stopping(KeywordObjective, "forward", at=2):
        search(config, stopped, resume=False)
    again = search(config, stopped, resume=True).record["winner"]
    assert again["subnet"] == first["subnet"]
    assert again["fine_tuned"] == first["fine_tuned"]
    assert_same_run(whole.out / "keywords", stopped.out / "keywords")


def test_what_is_no_run_of_a_keyword_supernet_is_refused(supernet, corpus, tmp_path):
    def refused(folder, message, **changes):
        space = load_keyword_supernet(supernet / "model").space
        with pytest.raises(CompressError, match=message):
            KeywordModels(
                asked(space, **changes), Places(supernet=folder, data=corpus, out=tmp_path / "out")
            )

    refused(supernet / "model", "without its run")
    damaged = tmp_path / "damaged"
    shutil.copytree(supernet, damaged)
    (damaged / "config.json").write_text("{}")
    refused(damaged, "no recipe in it")
    space = load_keyword_supernet(supernet / "model").space
    with pytest.raises(CallError, match="--scorer probe compares encoders"):
        asked(space, scorer="probe").scorer_for(space)


def table(space, ns_of):
    """What a device would have measured."""
    return DeviceTable(
        schema_version=1,
        space=space.name,
        definition=definition(space),
        window_samples=space.window_samples,
        threads=1,
        rounds=1,
        machine="any",
        processor="any",
        cores=1,
        engine="any",
        date="2026-01-01",
        overhead_ns=1,
        blocks={
            key: dict.fromkeys(("median_ns", "p90_ns"), ns_of(subnet))
            for key, subnet in timed_models(space).items()
        },
    )


def test_latency_is_fitted_to_models_that_a_device_has_timed():
    space = KEYWORD_SPACES["kwt-tiny"]
    assert len(space_blocks(space)) == NUM_MODELS

    def true_ns(subnet):
        costs = keyword_costs(space, subnet)
        layers = dict(subnet.sizes)["num_layers"]
        return 800_000 + 100_000 * layers + costs["params"] // 2 + costs["macs"] // 10

    times = ModelTimes.of(table(space, true_ns), space)
    assert times.largest_error < 1e-4
    for subnet in space.every():
        assert times.ns(space, subnet) == pytest.approx(true_ns(subnet), rel=1e-3)
    budget = SearchConfig(latency_ns=2_000_000).budget(space, table(space, true_ns))
    within = feasible_set(space, budget)
    assert 0 < within.count < space.size()
    assert true_ns(within.largest()) <= 2_002_000


def test_a_table_that_was_measured_in_noise_is_warned_of(caplog):
    space = KEYWORD_SPACES["kwt-tiny"]
    times = iter(1_000_000 * (1 + number % 2) for number in range(1000))
    found = ModelTimes.of(table(space, lambda subnet: next(times)), space)
    assert found.largest_error > 0.2
    assert "time the models again" in caplog.text


def test_a_table_of_another_space_is_refused():
    kwt, tiny = KEYWORD_SPACES["kwt"], KEYWORD_SPACES["kwt-tiny"]
    with pytest.raises(CompressError, match="measured for space 'kwt-tiny'"):
        SearchConfig(latency_ns=1).budget(kwt, table(tiny, lambda subnet: 1_000))


def test_the_command_line_goes_the_whole_way(corpus, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = recipe("tiny-cnn")
    text = f"""
scheme = "in_place"
space = "tiny-cnn"
min_clips_per_label = 2
window_seconds = {quick.window_seconds}
updates = {quick.updates}
optimizer = {{ learning_rate = 3e-3, warmup_updates = 2 }}
batch = {{ seconds = 2.0, crop_seconds = 0.6, min_seconds = 0.3 }}
log = {{ log_every = 1 }}
"""
    (tmp_path / "my.toml").write_text(text)

    def done(*words):
        code, out, err = call(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    plan = done("distill", "my.toml", "--data", corpus, "--out", "supernet", "--dry-run")
    assert plan["subnets"] == CNNS.size()
    assert plan["labels"] == ["_silence_", "no", "yes"]
    trained = done("distill", "my.toml", "--data", corpus, "--out", "supernet")
    assert 0.0 <= trained["smallest_valid_accuracy"] <= 1.0

    reachable = done("search", "supernet", "--target-params", 200, "--dry-run")
    assert reachable["subnets"] == CNNS.size()
    assert reachable["largest_costs"]["params"] == plan["largest_params"]
    limit = (plan["smallest_params"] + plan["largest_params"]) // 2
    words = ["search", "supernet", "--target-params", limit, "--data", corpus, "--out", "found"]
    words += ["--num-trials", 3, "--population", 2]
    found = done(*words)
    assert found["predicted"]["params"] == found["measured"]["params"] <= limit
    shown = done("show", "found")
    assert shown["channels"] == found["winner"]["channels"]
    assert {row["name"] for row in shown["layers"]} >= {"front end", "stem", "classifier"}
    done("report", "found")
    assert "channels" in (tmp_path / "found" / "report.html").read_text()

    bundle = done("export", "found/keywords", "--out", "keywords.bundle", "--dry-run")
    assert bundle["labels"] == plan["labels"]
    (tmp_path / "more.toml").write_text(
        text.replace(
            'scheme = "in_place"\nspace = "tiny-cnn"', 'task = "keywords"\nbody = "ds_cnn"'
        )
    )
    words = ["finetune", "more.toml", "--model", "found/keywords", "--data", corpus]
    more = done(*words, "--out", "more")
    assert load_keywords(tmp_path / "more" / "model").body.config.channels == shown["channels"]
    assert 0.0 <= more["test_accuracy"] <= 1.0

    for words, message in (
        (["search", "supernet", "--target-params", 200, "--scorer", "probe"], "compares encoders"),
        (["search", "supernet", "--size-mb", 1, "--dry-run"], "limits the graphs of encoders"),
        (["cut", "supernet", "largest", "--out", "cut"], "holds keyword models"),
        (["distill", "my.toml", "--teacher", "any"], "leave --teacher and --init out"),
        (["distill", "lighthubert-tiny"], "name it with --teacher"),
    ):
        more = [] if words[0] == "cut" else ["--data", corpus, "--out", "none"]
        code, _, err = call(*words, *more)
        assert code in (1, 2)
        assert message in " ".join(err.replace("│", " ").split()), err
