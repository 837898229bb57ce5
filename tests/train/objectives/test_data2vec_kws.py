"""data2vec-KWS: its targets written plainly, what it hides, and a body made of it."""

import numpy as np
import pytest
import torch

from train.data.masking import span_mask
from train.objectives._parts import frame_mask
from train.objectives.data2vec_kws import Recipe
from train.seeding import Draws

LENGTHS = [16_000, 9_000, 5_000]


def normed(frames):
    """(frames, channels) with each channel's mean 0 and variance 1."""
    return (frames - frames.mean(0)) / np.sqrt(frames.var(0) + 1e-5)


@pytest.mark.parametrize("pre_norm", [False, True])
@torch.no_grad()
def test_targets_are_the_normed_mean_of_normed_layers_of_frames(
    pre_norm, make_objective, make_batch, score
):
    objective = make_objective("data2vec_kws", encoder={"pre_norm": pre_norm})
    batch = make_batch(LENGTHS)
    hidden = frame_mask(batch, objective.encoder.config, objective.recipe.mask, Draws(0, 0))
    assert hidden.shape == (3, 98)
    weight = objective.final_proj.weight.double().numpy()
    bias = objective.final_proj.bias.double().numpy()
    teacher, total = objective.teacher, 0.0
    for row, length in enumerate(LENGTHS):
        output = objective.encoder(
            batch.waveform[row : row + 1, :length], None, torch.from_numpy(hidden[row])[None]
        )
        # the teacher's own embedding of frames, none hidden, its class token left out
        layers = teacher.transform(teacher.patch(output.features)).hidden_states[1:]
        target = normed(np.mean([normed(layer[0, 1:].double().numpy()) for layer in layers], 0))
        error = output.output[0].double().numpy() @ weight.T + bias - target
        total += (error[hidden[row]] ** 2).sum() / np.sqrt(error.shape[1])
    made = score(objective, batch)
    assert made.count == hidden.sum()
    assert float(made.total) == pytest.approx(total, rel=1e-4)  # float32 layers


def test_about_half_of_98_frames_are_hidden():
    mask = span_mask(
        [98] * 5_000, mask_prob=0.65, span=10, min_spans=1, rng=np.random.default_rng(1)
    )
    shares = mask.mean(1)
    assert shares.mean() == pytest.approx(0.499, abs=0.004)
    assert shares.std() == pytest.approx(0.07, abs=0.003)


def test_the_teacher_has_all_that_learns_but_the_mask_embedding(make_objective):
    objective = make_objective("data2vec_kws")
    own = {name for name, _ in objective.teacher.named_parameters()}
    theirs = {name for name, _ in objective.encoder.named_parameters()}
    assert theirs - own == {"mask_embedding"}
    assert own < theirs


def test_it_learns_to_tell_hidden_frames_and_noise_cannot_be_learned(make_objective, make_batch):
    losses = {}
    batch = make_batch([16_000] * 4)
    time = torch.arange(16_000) / 16_000
    # noise that swells and fades alike in every clip: a frame's place tells of it
    batch.waveform *= (3.0 * torch.sin(2 * torch.pi * 2 * time)).exp()
    for targets in ("teacher", "noise"):
        objective = make_objective("data2vec_kws", targets=targets).train()
        trained = [weight for weight in objective.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=1e-2)
        for step in range(40):
            loss = objective(batch, Draws(0, step))
            optimizer.zero_grad()
            (loss.total / loss.count).backward()
            optimizer.step()
        losses[targets] = float(loss.total.detach()) / loss.count / np.sqrt(16)
    assert losses["teacher"] < 0.8 < 0.9 < losses["noise"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"top_layers": 13}, r"top_layers must lie in \[1, 12\]"), ({"targets": "none"}, "targets")],
)
def test_impossible_settings_are_refused(changes, said):
    values = {"objective": "data2vec_kws", "encoder": {}}
    with pytest.raises(ValueError, match=said):
        Recipe(**(values | changes))
