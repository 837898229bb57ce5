"""Learning rates in closed form; that of `linear` as the learner takes it is in test_learner."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from train.config import OptimizerConfig
from train.learner import Learner
from train.models.alibi import Alibi
from train.objectives import Objective
from train.schedules import rate

SCHEDULES = ("linear", "tri_stage", "cosine")
counts = st.integers(1, 5_000)


def config(schedule, warmup=0, decay=10):
    values = {"decay_updates": decay} if schedule == "tri_stage" else {}
    return OptimizerConfig(schedule=schedule, warmup_updates=warmup, **values)


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(updates=counts, warmup=st.integers(0, 6_000), decay=counts, at=st.integers(0, 12_000))
def test_a_rate_is_a_share_of_the_peak_positive_until_the_end_and_zero_from_there_on(
    schedule, updates, warmup, decay, at
):
    found = rate(config(schedule, warmup, decay), at, updates)
    assert 0.0 <= found <= 1.0
    assert (found > 0.0) == (at < updates)


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(updates=counts, warmup=st.integers(0, 6_000), decay=counts)
def test_a_rate_rises_in_a_line_and_never_rises_again(schedule, updates, warmup, decay):
    asked = config(schedule, warmup, decay)
    rates = [rate(asked, update, updates) for update in range(updates)]
    peak = min(warmup, updates)
    assert rates[:peak] == pytest.approx([(n + 1) / (peak + 1) for n in range(peak)])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@given(updates=counts, warmup=st.integers(0, 5_000), at=counts)
def test_a_cosine_falls_as_half_a_wave_from_the_peak_to_zero(updates, warmup, at):
    assume(warmup <= at < updates)
    share = (at - warmup) / (updates - warmup)
    wanted = 0.5 * (1 + math.cos(math.pi * share))
    assert rate(config("cosine", warmup), at, updates) == pytest.approx(wanted, abs=1e-12)
    assert rate(config("cosine", warmup), warmup, updates) == 1.0


@given(updates=counts, warmup=st.integers(0, 5_000), at=counts)
def test_a_line_falls_to_zero(updates, warmup, at):
    assume(warmup <= at < updates)
    wanted = 1 - (at - warmup) / (updates - warmup)
    assert rate(config("linear", warmup), at, updates) == pytest.approx(wanted, abs=1e-12)


@given(hold=st.integers(0, 3_000), warmup=st.integers(0, 500), decay=counts, at=counts)
def test_three_stages_hold_the_peak_then_fall_by_a_constant_factor_to_a_hundredth(
    hold, warmup, decay, at
):
    updates = warmup + hold + decay
    asked = config("tri_stage", warmup, decay)
    assert rate(asked, warmup + hold, updates) == 1.0
    if hold:
        assert rate(asked, warmup + at % hold, updates) == 1.0
    place = at % decay
    wanted = math.exp(math.log(0.01) * place / decay)
    assert rate(asked, warmup + hold + place, updates) == pytest.approx(wanted, rel=1e-9)


def test_the_papers_schedules_have_their_end_points():
    data2vec = config("tri_stage", 12_000, 28_000)
    found = [rate(data2vec, at, 400_000) for at in (0, 12_000, 372_000, 386_000, 399_999, 400_000)]
    assert found == pytest.approx([1 / 12_001, 1.0, 1.0, 0.1, 0.01, 0.0], rel=1e-3)
    data2vec2 = config("cosine", 8_000)
    found = [rate(data2vec2, at, 400_000) for at in (7_999, 8_000, 204_000, 302_000, 400_000)]
    quarter = 0.5 * (1 - 2**-0.5)
    assert found == pytest.approx([8_000 / 8_001, 1.0, 0.5, quarter, 0.0])
    wav2vec2 = config("linear", 32_000)
    assert rate(wav2vec2, 32_000, 400_000) == 1.0
    assert rate(wav2vec2, 216_000, 400_000) == pytest.approx(0.5)


@pytest.mark.parametrize(("schedule", "decay"), [("linear", 5), ("cosine", 5), ("tri_stage", 0)])
def test_a_decay_goes_with_three_stages_and_with_nothing_else(schedule, decay):
    with pytest.raises(ValueError, match="decay_updates goes with schedule = 'tri_stage'"):
        OptimizerConfig(schedule=schedule, decay_updates=decay)


class Weighted(Objective):
    """Every kind of weight that there is."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.conv = nn.Conv1d(3, 2, 5)
        self.norm = nn.LayerNorm(2)
        self.alibi = Alibi(2)
        self.embedding = nn.Parameter(nn.init.normal_(self.linear.weight[0].detach().clone()))

    def forward(self, batch, draws):
        raise NotImplementedError


@pytest.mark.parametrize("decay_vectors", [True, False])
def test_matrices_are_decayed_and_vectors_only_where_asked(decay_vectors):
    objective = Weighted()
    asked = OptimizerConfig(weight_decay=0.3, decay_vectors=decay_vectors)
    learner = Learner(objective, asked, updates=10, seed=0)
    groups = learner.configure_optimizers()["optimizer"].param_groups
    decays = {
        name: group["weight_decay"]
        for group in groups
        for name, weight in objective.named_parameters()
        if any(weight is member for member in group["params"])
    }
    assert sum(len(group["params"]) for group in groups) == len(decays) == 8
    matrices = {"linear.weight", "conv.weight"}
    for name, decay in decays.items():
        assert decay == (0.3 if decay_vectors or name in matrices else 0.0), name
