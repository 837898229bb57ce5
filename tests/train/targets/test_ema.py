"""The moving-average teacher in closed form, and what it never does."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from train.targets.ema import EmaConfig, EmaTeacher

decays = st.floats(0.0, 1.0)


def pair(make_encoder, *, copied=(), **changes):
    student = make_encoder(**changes)
    return student, EmaTeacher(student, copied=copied)


def values(module):
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def shifted(student, by):
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(by)


@settings(max_examples=20, deadline=None)
@given(decay=decays, updates=st.integers(0, 12), by=st.floats(-2, 2))
def test_it_nears_a_student_that_stays_by_a_power_of_the_decay(make_encoder, decay, updates, by):
    student, teacher = pair(make_encoder)
    start = values(teacher)
    shifted(student, by)
    for _ in range(updates):
        teacher.follow(student, decay)
    goal = dict(student.named_parameters())
    for name, weight in teacher.named_parameters():
        expected = decay**updates * start[name] + (1 - decay**updates) * goal[name]
        # a rounding of float32 each update
        assert torch.allclose(weight, expected, atol=1e-6 * (1 + updates)), name


@settings(max_examples=20, deadline=None)
@given(decay=decays, moves=st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_it_is_the_weighted_sum_of_all_that_a_moving_student_was(make_encoder, decay, moves):
    student, teacher = pair(make_encoder)
    start, place = values(teacher), 0.0
    places = []
    for by in moves:
        shifted(student, by)
        place += by
        places.append(place)
        teacher.follow(student, decay)
    ages = np.arange(len(moves))[::-1]
    offset = float(((1 - decay) * decay**ages * np.array(places)).sum())
    for name, weight in teacher.named_parameters():
        assert torch.allclose(weight, start[name] + offset, atol=2e-5), name


def test_steps_are_counted_by_decays_of_their_own(make_encoder):
    student, teacher = pair(make_encoder)
    start = values(teacher)
    shifted(student, 1.0)
    for decay in (0.9, 0.5, 0.99):
        teacher.follow(student, decay)
    for name, weight in teacher.named_parameters():
        assert torch.allclose(weight, start[name] + (1 - 0.9 * 0.5 * 0.99), atol=1e-6), name


def test_a_decay_of_one_stands_still_to_the_bit_and_of_zero_copies(make_encoder):
    student, teacher = pair(make_encoder)
    start = values(teacher)
    shifted(student, 0.3)
    teacher.follow(student, 1.0)
    for name, weight in teacher.named_parameters():
        assert torch.equal(weight, start[name]), name
    teacher.follow(student, 0.0)
    for name, weight in teacher.named_parameters():
        assert torch.equal(weight, student.get_parameter(name)), name


def test_slow_decays_are_not_lost_to_rounding(make_encoder):
    # data2vec 2.0 ends at 0.99999: a thousand steps are 1 % of the way
    student, teacher = pair(make_encoder)
    start = values(teacher)
    shifted(student, 1.0)
    for _ in range(1_000):
        teacher.follow(student, 0.99999)
    for name, weight in teacher.named_parameters():
        moved = (weight - start[name]).mean()
        assert float(moved) == pytest.approx(1 - 0.99999**1_000, rel=0.02), name


@pytest.mark.parametrize("stack", [True, False], ids=["stack", "weight-norm"])
def test_copied_modules_are_the_students_after_every_update(make_encoder, stack):
    changes = {"pos_conv_depth": 3, "pos_conv_weight_norm": False} if stack else {}
    student, teacher = pair(make_encoder, copied=("pos_conv",), **changes)
    start = values(teacher)
    for _ in range(2):
        shifted(student, 0.5)
        teacher.follow(student, 0.999)
    names = [name for name, _ in teacher.named_parameters()]
    assert sum(name.startswith("pos_conv.") for name in names) >= 3
    for name, weight in teacher.named_parameters():
        theirs = student.get_parameter(name)
        if name.startswith("pos_conv."):
            assert torch.equal(weight, theirs), name
            assert weight.data_ptr() != theirs.data_ptr(), name
        else:
            assert float((weight - start[name]).abs().max()) < 0.01, name
    hidden = torch.randn(1, 9, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(teacher.pos_conv(hidden), student.pos_conv(hidden))


@pytest.mark.parametrize("alibi", [True, False])
def test_it_starts_as_its_student_even_after_a_weight_normed_forward(make_encoder, alibi):
    student = make_encoder(alibi=alibi)
    if alibi:
        with torch.no_grad():
            student.alibi.scale.mul_(1.7)
    hidden = torch.randn(2, 11, 16, generator=torch.Generator().manual_seed(0))
    student.contextualize(hidden, None)  # old weight norm could not be copied after this
    teacher = EmaTeacher(student)
    with torch.no_grad():
        theirs, own = student.contextualize(hidden, None), teacher.contextualize(hidden, None)
    for first, second in zip(
        theirs.hidden_states + theirs.ffn_outputs, own.hidden_states + own.ffn_outputs, strict=True
    ):
        assert torch.equal(first, second)
    again = copy.deepcopy(teacher)
    teacher.follow(student, 0.5)
    assert values(again).keys() == values(teacher).keys()


def test_it_has_the_context_network_and_no_feature_extractor(make_encoder):
    student, teacher = pair(make_encoder)
    own = {name for name, _ in teacher.named_parameters()}
    starts = ("feature_extractor.", "feature_norm.", "feature_projection.", "mask_embedding")
    rest = {name for name, _ in student.named_parameters() if not name.startswith(starts)}
    assert own == rest
    assert own < {name for name, _ in student.named_parameters()}


def test_it_stays_in_eval_mode_whatever_its_parent_is_told(make_encoder):
    student, teacher = pair(make_encoder, dropout=0.5, layerdrop=0.9)
    parent = nn.ModuleList([student, teacher]).train()
    assert student.training
    assert teacher.train() is teacher
    assert not any(module.training for module in teacher.modules())
    parent.eval()
    parent.train(True)
    assert not any(module.training for module in teacher.modules())
    hidden = torch.randn(2, 11, 16, generator=torch.Generator().manual_seed(0))
    outputs = [teacher.contextualize(hidden, None) for _ in range(3)]
    assert all(len(output.ffn_outputs) == 2 for output in outputs)
    assert all(
        torch.equal(output.hidden_states[-1], outputs[0].hidden_states[-1]) for output in outputs
    )


def test_it_gets_no_gradient_and_passes_none_on_by_its_weights(make_encoder):
    _, teacher = pair(make_encoder)
    assert not any(weight.requires_grad for weight in teacher.parameters())
    hidden = torch.randn(1, 5, 16)
    assert not teacher.contextualize(hidden, None).hidden_states[-1].requires_grad


@given(start=decays, end=decays, updates=st.integers(1, 100_000), at=st.integers(0, 200_000))
def test_the_decay_goes_in_a_line_from_start_to_end_and_stays(start, end, updates, at):
    config = EmaConfig(start=start, end=end, updates=updates)
    assert config.decay(0) == start
    assert config.decay(updates) == pytest.approx(end, abs=1e-12)
    assert config.decay(updates + at) == config.decay(updates)
    low, high = sorted((start, end))
    assert low - 1e-12 <= config.decay(at) <= high + 1e-12
    if at <= updates:
        line = start * (1 - at / updates) + end * at / updates
        assert config.decay(at) == pytest.approx(line, abs=1e-12)


@pytest.mark.parametrize(
    ("config", "start", "end", "updates"),
    [
        (EmaConfig(), 0.999, 0.9999, 30_000),
        (EmaConfig(end=0.99999, updates=75_000), 0.999, 0.99999, 75_000),
        (EmaConfig(start=0.9997, end=1.0, updates=300_000), 0.9997, 1.0, 300_000),
    ],
    ids=["data2vec", "data2vec2", "data2vec2-large"],
)
def test_the_papers_schedules_have_their_end_points(config, start, end, updates):
    assert config.decay(0) == start
    assert config.decay(updates // 2) == pytest.approx((start + end) / 2, abs=1e-9)
    assert config.decay(updates - 1) < end
    assert config.decay(updates) == pytest.approx(end, abs=1e-15)
    assert config.decay(400_000) == pytest.approx(end, abs=1e-15)


@pytest.mark.parametrize("changes", [{"start": 1.1}, {"end": -0.1}, {"updates": 0}])
def test_an_impossible_schedule_is_refused(changes):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\] and updates be 1 or more"):
        EmaConfig(**changes)
