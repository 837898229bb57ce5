"""The one Lightning module: rates, groups, and randomness by update."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from train.config import OptimizerConfig
from train.learner import Learner
from train.objectives import Loss, Objective


class Drawing(Objective):
    """A loss made of what a step draws."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(2, 1)
        self.head = nn.Linear(1, 1)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)

    def forward(self, batch, draws):
        drawn = torch.rand(()) + sum(float(rng.random()) for rng in draws.rows(batch.rows))
        return Loss(self.head(self.body(torch.ones(2))).sum() * 0 + drawn, 1, {})


def learner(*, updates=10, seed=0, scale=None, **optimizer):
    return Learner(
        Drawing(),
        OptimizerConfig(**optimizer),
        updates=updates,
        seed=seed,
        learning_rate_scale=scale,
    )


def rates_taken(made):
    """The rate at each update, as the optimizer sees it, and the one after the last."""
    configured = made.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert configured["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(made.updates + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_the_rate_rises_in_a_line_to_its_peak_and_falls_in_a_line_to_zero():
    rates = rates_taken(learner(updates=10, warmup_updates=4, learning_rate=5.0))
    falling = [5.0 * left / 6 for left in (6, 5, 4, 3, 2, 1, 0)]
    assert rates == pytest.approx([1.0, 2.0, 3.0, 4.0, *falling])


@given(updates=st.integers(1, 300), warmup=st.integers(0, 400))
def test_the_rate_stays_within_zero_and_the_peak_and_never_idles_before_the_end(updates, warmup):
    made = learner(updates=updates, warmup_updates=warmup)
    rates = [made.rate(update) for update in range(updates)]
    assert all(0.0 < rate <= 1.0 for rate in rates)
    peak = min(warmup, updates)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if warmup < updates:
        assert made.rate(warmup) == 1.0
    assert made.rate(updates) == made.rate(updates + 7) == 0.0


def test_without_a_warm_up_the_first_update_has_the_whole_rate():
    assert learner(warmup_updates=0).rate(0) == 1.0


def test_only_what_learns_is_optimized_each_by_its_share_of_the_rate():
    made = learner(learning_rate=0.1, scale={"body.": 0.25}, warmup_updates=0)
    optimizer = made.configure_optimizers()["optimizer"]
    rate_of = {
        id(parameter): group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    objective = made.objective
    assert len(rate_of) == 4
    assert rate_of[id(objective.body.weight)] == rate_of[id(objective.body.bias)] == 0.025
    assert rate_of[id(objective.head.weight)] == rate_of[id(objective.head.bias)] == 0.1


def test_the_optimizer_is_the_recipes():
    made = learner(betas=(0.5, 0.75), eps=1e-3, weight_decay=0.2)
    group = made.configure_optimizers()["optimizer"].param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.5, 0.75), 1e-3, 0.2)


def drawn_at(step, seed, monkeypatch):
    made = learner(seed=seed)
    monkeypatch.setattr(made, "log", lambda *args, **kwargs: None)
    monkeypatch.setattr(made, "log_dict", lambda *args, **kwargs: None)
    torch.rand(step + 3)  # whatever was drawn before
    batch = type("Batch", (), {"cut_ids": ["a"], "rows": [0], "step": step})()
    return float(made.training_step(batch, step).detach())


def test_what_a_step_draws_depends_on_the_seed_and_the_update_alone(monkeypatch):
    first = [drawn_at(step, 3, monkeypatch) for step in range(5)]
    assert first == [drawn_at(step, 3, monkeypatch) for step in range(5)]
    assert len(set(first)) == 5
    assert first[0] != drawn_at(0, 4, monkeypatch)
