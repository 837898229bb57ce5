"""data2vec: targets and loss written plainly, and the teacher that follows."""

import numpy as np
import pytest
import torch

from train.config import MaskConfig
from train.errors import CollapseError
from train.objectives._parts import frame_mask
from train.objectives.data2vec import Recipe, regression
from train.pretrain import get_objective, objective_names
from train.seeding import Draws

LENGTHS = [16_000, 9_000, 5_000]
WITH_TEACHER = [name for name in objective_names() if name.startswith("data2vec")]


def plain_target(objective, projected, top_layers):
    """(frames, channels) of one utterance without padding: instance-normalized outputs' mean."""
    outputs = objective.teacher.contextualize(projected.unsqueeze(0), None).ffn_outputs
    layers = [layer[0].double().numpy() for layer in outputs[-top_layers:]]
    normed = [(layer - layer.mean(0)) / np.sqrt(layer.var(0) + 1e-5) for layer in layers]
    return np.mean(normed, axis=0)


@pytest.mark.parametrize("top_layers", [1, 2])
@torch.no_grad()
def test_the_loss_is_the_squared_error_over_the_root_of_the_width_at_hidden_frames(
    top_layers, make_objective, make_batch, score
):
    objective = make_objective("data2vec", top_layers=top_layers)
    batch = make_batch(LENGTHS)
    hidden = frame_mask(batch, objective.encoder.config, objective.recipe.mask, Draws(0, 0))
    weight = objective.final_proj.weight.double().numpy()
    bias = objective.final_proj.bias.double().numpy()
    total = 0.0
    for row, length in enumerate(LENGTHS):
        alone = batch.waveform[row : row + 1, :length]
        frames = objective.encoder.config.num_frames(length)
        mask = hidden[row, :frames]
        output = objective.encoder(alone, None, torch.from_numpy(mask).unsqueeze(0))
        target = plain_target(objective, objective.encoder.project(alone).projected[0], top_layers)
        error = output.output[0].double().numpy() @ weight.T + bias - target
        total += (error[mask] ** 2).sum() / np.sqrt(error.shape[1])
    made = score(objective, batch)
    assert made.count == hidden.sum()
    # float32 layers of padded rows against rows of their own
    assert float(made.total) == pytest.approx(total, rel=1e-4)
    assert float(made.parts["mask_fraction"]) == pytest.approx(hidden.mean())


def test_smooth_l1_is_squared_up_to_beta_and_linear_beyond():
    wanted = torch.zeros(1, 4)
    predicted = torch.tensor([[0.1, -0.2, 3.0, -5.0]])
    beta = 0.5
    plain = 0.5 * 0.1**2 / beta + 0.5 * 0.2**2 / beta + (3.0 - beta / 2) + (5.0 - beta / 2)
    assert float(regression(predicted, wanted, beta)) == pytest.approx(plain / 2.0)
    squares = 0.1**2 + 0.2**2 + 3.0**2 + 5.0**2
    assert float(regression(predicted, wanted, 0.0)) == pytest.approx(squares / 2.0)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_no_gradient_comes_through_the_targets(name, make_objective, make_batch, monkeypatch):
    objective = make_objective(name)
    batch = make_batch(LENGTHS)

    def gradients():
        objective.zero_grad()
        objective(batch, Draws(0, 0)).total.backward()
        return {key: weight.grad for key, weight in objective.named_parameters()}

    seen = []
    contextualize = objective.teacher.contextualize

    def noted(*args):
        seen.append(contextualize(*args))
        return seen[-1]

    monkeypatch.setattr(objective.teacher, "contextualize", noted)
    free = gradients()
    (fixed,) = seen
    assert not fixed.hidden_states[-1].requires_grad
    monkeypatch.setattr(objective.teacher, "contextualize", lambda *_: fixed)
    for key, gradient in gradients().items():
        if gradient is None:
            assert free[key] is None
        else:
            assert torch.equal(gradient, free[key]), key


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_the_teacher_hears_no_dropout_and_drops_no_layer_while_the_student_trains(
    name, make_objective, make_batch, monkeypatch
):
    shaken = {"dropout": 0.5}
    if name != "data2vec_kws":
        shaken |= {"attention_dropout": 0.5, "activation_dropout": 0.5, "layerdrop": 0.9}
    objective = make_objective(name, encoder=shaken).train()
    assert objective.training
    assert objective.encoder.training
    seen = []
    contextualize = objective.teacher.contextualize

    def noted(*args):
        seen.append(contextualize(*args))
        return seen[-1]

    monkeypatch.setattr(objective.teacher, "contextualize", noted)
    for _ in range(2):
        objective(make_batch(LENGTHS), Draws(0, 0))
    assert len(seen[0].ffn_outputs) == objective.encoder.config.num_layers
    for first, second in zip(seen[0].ffn_outputs, seen[1].ffn_outputs, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_the_teacher_starts_as_the_student_and_follows_after_each_update(name, make_objective):
    made = make_objective(name)
    objective = get_objective(name).build(made.encoder, made.recipe)
    student = dict(objective.encoder.named_parameters())
    teacher = dict(objective.teacher.named_parameters())
    for key, weight in teacher.items():
        assert torch.equal(weight, student[key]), key
    before = {key: weight.clone() for key, weight in teacher.items()}
    with torch.no_grad():
        for weight in student.values():
            weight.add_(1.0)
    for key, weight in teacher.items():
        assert torch.equal(weight, before[key]), key
    update = 500
    objective.after_update(update)
    share = 1.0 - objective.recipe.ema.decay(update)
    assert 0.0 < share < 1e-3
    for key, weight in teacher.items():
        copied = name == "data2vec" and key.startswith("pos_conv.")
        moved = before[key] + (1.0 if copied else share)
        # what follows is a difference of numbers of order one, in float32
        assert torch.allclose(weight, moved, atol=3e-7, rtol=1e-6), key


@pytest.mark.parametrize("name", WITH_TEACHER)
@pytest.mark.parametrize(
    ("metric", "value"), [("target_std", 0.09), ("prediction_std", 0.009)], ids=str
)
def test_a_collapse_ends_a_run_once_it_had_time_to_find_its_targets(
    name, metric, value, make_objective
):
    objective = make_objective(name, check_after=100)
    healthy = {"target_std": 0.1, "prediction_std": 0.01, "loss": 1.0}
    objective.check(100, healthy | {metric: value})
    objective.check(101, healthy)
    objective.check(101, {"loss": 1.0})
    with pytest.raises(CollapseError, match=rf"{metric} is {value} at update 101, below .* Lower "):
        objective.check(101, healthy | {metric: value})


@torch.no_grad()
def test_the_log_tells_how_far_targets_and_predictions_spread(make_objective, make_batch, score):
    objective = make_objective("data2vec")
    parts = score(objective, make_batch(LENGTHS)).parts
    assert 0.5 < float(parts["target_std"]) < 1.5
    assert float(parts["prediction_std"]) > 0.01
    objective.final_proj.weight.zero_()
    assert float(score(objective, make_batch(LENGTHS)).parts["prediction_std"]) < 0.01


def test_an_encoder_that_leaves_hidden_frames_out_is_refused(make_objective):
    for name in ("data2vec", "wav2vec2", "hubert"):
        with pytest.raises(ValueError, match=f"{name} hides frames: set encoder.mask_embedding"):
            make_objective(name, encoder={"mask_embedding": False})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top_layers": 3}, r"top_layers must lie in \[1, 2\]"),
        ({"top_layers": 0}, r"top_layers must lie in \[1, 2\]"),
        ({"top_layers": 1, "smooth_l1_beta": -1.0}, "must be 0 or more"),
        ({"top_layers": 1, "check_after": -1}, "must be 0 or more"),
        ({"top_layers": 1, "objective": "data2vec2"}, "data2vec"),
    ],
)
def test_impossible_settings_are_refused(changes, said, encoder_config):
    with pytest.raises(ValueError, match=said):
        Recipe(**({"objective": "data2vec", "encoder": encoder_config()} | changes))


def test_the_mask_of_a_recipe_is_the_papers_by_default(encoder_config):
    made = Recipe(objective="data2vec", encoder=encoder_config(), top_layers=1)
    assert made.mask == MaskConfig(prob=0.65, span=10, min_spans=1)


@pytest.mark.parametrize("name", ["data2vec", "data2vec_kws"])
def test_controls_keep_how_targets_spread_and_drop_what_they_tell(name, make_objective, make_batch):
    batch = make_batch(LENGTHS)
    made = {
        targets: make_objective(name, targets=targets)
        for targets in ("teacher", "shuffled", "noise")
    }
    known = made["teacher"]
    output = known.encoder(batch.waveform, batch.padded_lengths)
    target = known._target(output.features, output.padding_mask)
    lengths = [known.encoder.config.num_frames(length) for length in LENGTHS]
    shuffled = made["shuffled"]._control(target, batch, Draws(0, 0))
    for row, length in enumerate(lengths):
        frames = {tuple(frame.tolist()) for frame in target[row, :length]}
        assert {tuple(frame.tolist()) for frame in shuffled[row, :length]} == frames
        moved = (shuffled[row, :length] != target[row, :length]).any(1).float().mean()
        assert float(moved) > 0.5  # of 15 frames a few stay where they are
    noise = made["noise"]._control(target, batch, Draws(0, 0))
    assert float(noise[0].std()) == pytest.approx(1.0, abs=0.1)
    assert not torch.equal(noise, made["noise"]._control(target, batch, Draws(0, 1)))
    assert torch.equal(noise, made["noise"]._control(target, batch, Draws(0, 0)))


@pytest.mark.parametrize("targets", ["shuffled", "noise"])
def test_a_controls_targets_are_drawn_by_row(targets, make_objective, make_batch, some_rows, score):
    objective = make_objective("data2vec_kws", targets=targets)
    batch = make_batch(LENGTHS)
    whole = score(objective, batch)
    alone = [score(objective, some_rows(batch, [row])) for row in range(len(LENGTHS))]
    total = sum(float(part.total) for part in alone)
    assert total == pytest.approx(float(whole.total), rel=1e-4)  # float32 sums
