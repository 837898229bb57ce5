"""Phones told by a teacher: its average in closed form, what it tells, and what counts."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.models.causal_tcn import CausalTcn, CausalTcnConfig
from train.seeding import Draws
from train.tasks.augmenting import AugmentConfig, Variation
from train.tasks.phones import LABELS, TAIL_SAMPLES, PhoneModel, PhoneObjective, spelled
from train.tasks.pseudo_labels import PhoneTeacher, PseudoLabelObjective, UnlabelledConfig

LENGTHS = [9_000, 16_000, 5_000, 12_000]
SAID = {"cut0": ("AA", "B"), "cut2": ("K",)}
"""Of the batch's first and third row; nobody told the others."""
LOUDER = AugmentConfig(max_shift_ms=50, noise_prob=0.0, room_prob=0.0)


def make_model(seed=0, channels=8):
    torch.manual_seed(seed)
    model = PhoneModel(CausalTcn(CausalTcnConfig(channels=channels, dilations=(1, 2))))
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running_var" in name:
                tensor.uniform_(0.5, 1.5)
            elif "norm" in name and tensor.is_floating_point():
                tensor.normal_(std=0.5)
        model.classifier.weight.mul_(8.0)  # so that it tells phones, and not blanks alone
    return model


def make_objective(model=None, teacher=None, said=SAID, **config):
    model = model or make_model()
    return PseudoLabelObjective(
        model,
        Variation(LOUDER),
        said,
        PhoneTeacher(teacher or make_model(seed=1)),
        UnlabelledConfig(**({"labels": "offline"} | config)),
        updates=10,
    )


def floats(model):
    return {
        name: tensor.clone()
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and name != "rest"
    }


@settings(max_examples=10, deadline=None)
@given(first_weight=st.floats(0.05, 1.0), updates=st.integers(1, 300))
def test_with_a_student_that_stays_the_first_weights_count_for_as_much_as_asked(
    first_weight, updates
):
    config = UnlabelledConfig(labels="momentum", first_weight=first_weight)
    assert_average(config.decay(updates), updates, first_weight)


def test_ten_thousand_steps_are_not_lost_to_rounding():
    config = UnlabelledConfig(labels="momentum", first_weight_updates=10_000)
    assert config.decay(400) == pytest.approx(0.9999307, abs=1e-7)
    assert_average(config.decay(400), 10_000, 0.5)


def assert_average(decay, updates, first_weight):
    first, student = make_model(), make_model(seed=1)
    teacher = PhoneTeacher(first)
    for _ in range(updates):
        teacher.follow(student, decay)
    start, goal = floats(first), floats(student)
    assert any("running_mean" in name for name in start)
    for name, tensor in floats(teacher).items():
        expected = first_weight * start[name].double() + (1 - first_weight) * goal[name].double()
        # a few roundings of values that reach 3
        torch.testing.assert_close(tensor.double(), expected, atol=1e-6, rtol=3e-7)


def test_a_momentum_teacher_moves_after_an_update_and_an_offline_one_does_not():
    for labels, moves in (("momentum", True), ("offline", False)):
        student = make_model()
        objective = make_objective(student, student, labels=labels)
        before = floats(objective.teacher)
        for weight in student.parameters():
            weight.data.add_(1.0)
        objective.after_update(1)
        for name, tensor in floats(objective.teacher).items():
            assert torch.equal(tensor, before[name]) != (moves and "running" not in name), name


def test_a_teacher_of_weight_one_stands_still_to_the_bit():
    student = make_model()
    objective = make_objective(student, make_model(seed=1), labels="momentum", first_weight=1.0)
    before = floats(objective.teacher)
    for update in range(3):
        objective.after_update(update + 1)
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in floats(objective.teacher).items()
    )


def test_a_teacher_shares_nothing_with_its_student_and_stays_in_eval_mode_without_gradient():
    student = make_model()
    objective = make_objective(student, student).train()
    assert student.training
    assert not any(module.training for module in objective.teacher.modules())
    assert not any(weight.requires_grad for weight in objective.teacher.parameters())
    theirs = {tensor.data_ptr() for tensor in student.state_dict().values()}
    assert not theirs & {tensor.data_ptr() for tensor in objective.teacher.state_dict().values()}


def alone(model, waveform):
    """Log posteriors of a recording by itself, to the end of its tail."""
    frames = -(-(len(waveform) + TAIL_SAMPLES) // 640)
    heard = torch.zeros(1, frames * 640)
    heard[0, : len(waveform)] = waveform
    with torch.no_grad():
        return copy.deepcopy(model).eval()(heard)[0].log_softmax(-1)


def test_it_tells_what_its_best_path_spells_of_each_recording_as_it_is(make_batch):
    model, batch = make_model(seed=1), make_batch(LENGTHS)
    told = PhoneTeacher(model).told(batch.waveform, LENGTHS)
    for row, length in enumerate(LENGTHS):
        scores = alone(model, batch.waveform[row, :length])
        assert told[row].phones == spelled(scores)
        of_path = float(scores.amax(-1).sum())
        assert told[row].log_posterior == pytest.approx(of_path / len(told[row].phones), rel=1e-5)
    assert all(row.phones for row in told)


def supervised(objective, batch, told):
    """The loss if these were the labels of the rows that nobody labelled."""
    said = dict(SAID) | {
        batch.cut_ids[row]: [LABELS[number] for number in phones] for row, phones in told.items()
    }
    made = PhoneObjective(objective.model, objective.variation, said)
    torch.manual_seed(0)
    return made(batch, Draws(0, 0))


def scored(objective, batch):
    torch.manual_seed(0)  # dropout's
    return objective(batch, Draws(0, 0))


def told_by(objective, batch):
    rows = objective.teacher.told(batch.waveform, batch.num_samples)
    return {row: rows[row] for row in (1, 3)}


def test_the_students_loss_is_that_of_the_teachers_phones_as_labels(make_batch):
    objective, batch = make_objective().train(), make_batch(LENGTHS)
    told = {row: each.phones for row, each in told_by(objective, batch).items()}
    found, wanted = scored(objective, batch), supervised(objective, batch, told)
    assert found.total.item() == wanted.total.item()
    assert found.count == wanted.count == 3 + sum(map(len, told.values()))
    assert float(found.parts["pseudo_learned"]) == 1.0


def test_without_an_unlabelled_recording_the_loss_is_the_supervised_one_to_the_bit(make_batch):
    batch = make_batch(LENGTHS)
    said = {f"cut{row}": ("AA", "B") for row in range(4)}
    first, second = make_model().train(), make_model().train()
    found = scored(make_objective(first, said=said), batch)
    torch.manual_seed(0)
    wanted = PhoneObjective(second, Variation(LOUDER), said)(batch, Draws(0, 0))
    assert torch.equal(found.total, wanted.total)
    assert found.count == wanted.count
    assert torch.equal(found.parts["phone_error_rate"], wanted.parts["phone_error_rate"])
    for loss in (found, wanted):
        loss.total.backward()
    for mine, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine.grad, other.grad)


def test_a_weight_is_that_of_each_phone_the_teacher_told(make_batch):
    batch = make_batch(LENGTHS)
    # in eval mode rows know nothing of one another
    losses = [scored(make_objective(weight=weight).eval(), batch) for weight in (0.5, 1.0, 2.0)]
    totals, counts = zip(*((loss.total.item(), loss.count) for loss in losses), strict=True)
    assert totals[2] - totals[1] == pytest.approx(2 * (totals[1] - totals[0]), rel=1e-4)
    assert counts[2] - counts[1] == pytest.approx(2 * (counts[1] - counts[0]))
    assert 2 * counts[0] - counts[1] == pytest.approx(3)  # of labels


def test_what_the_teacher_is_not_sure_of_counts_for_nothing(make_batch):
    batch = make_batch(LENGTHS)
    sure = {row: each.log_posterior for row, each in told_by(make_objective(), batch).items()}
    better = max(sure, key=sure.get)
    between = float(np.mean(list(sure.values())))
    objective = make_objective(min_log_posterior=between).eval()
    found = scored(objective, batch)
    phones = told_by(objective, batch)[better].phones
    assert found.count == 3 + len(phones)
    assert float(found.parts["pseudo_learned"]) == 0.5
    silent = {better: phones, ({1, 3} - {better}).pop(): []}
    left_out = scored(make_objective(min_log_posterior=-1e-9).eval(), batch)
    assert left_out.count == 3
    only = supervised(objective, batch, silent).total - blanks(objective, batch, silent)
    assert found.total.item() == pytest.approx(only.item(), rel=1e-5)


def blanks(objective, batch, told):
    """What a recording of no phones costs, if silence is its label."""
    (row,) = [row for row, phones in told.items() if not phones]
    logits = objective.heard(batch, Draws(0, 0))[row].detach()
    return -logits.log_softmax(-1)[:, 0].sum()


def test_a_teacher_that_hears_nothing_teaches_nothing(make_batch):
    mute = make_model(seed=1)
    with torch.no_grad():
        mute.classifier.bias[0] = 1e3
    student = make_model().train()
    objective = make_objective(student, mute, said={}, share=1.0)
    loss = scored(objective, make_batch(LENGTHS))
    loss.total.backward()
    assert loss.count == 0
    assert loss.total.item() == 0.0
    assert all(not weight.grad.any() for weight in student.parameters())
    assert "phone_error_rate" not in loss.parts


@pytest.mark.parametrize(
    "values",
    [
        {"share": 0.0},
        {"share": 1.1},
        {"weight": 0.0},
        {"weight": float("inf")},
        {"min_log_posterior": 0.0},
        {"min_log_posterior": float("nan")},
        {"first_weight": 0.0},
        {"first_weight": 1.01},
        {"first_weight_updates": 0},
        {"labels": "online"},
        {"shares": 0.5},
    ],
)
def test_what_cannot_be_is_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        UnlabelledConfig(**({"labels": "momentum"} | values))
