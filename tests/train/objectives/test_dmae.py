"""Masked autoencoding of patches: exact masks, a plain formula, a teacher that stops and stays."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.config import BatchConfig, OptimizerConfig
from train.data.masking import num_kept, random_masks
from train.errors import RecipeError
from train.learner import Learner
from train.objectives._parts import shown
from train.objectives.dmae import DecoderConfig, Dmae, Recipe
from train.seeding import Draws

LENGTHS = [16_000, 9_000, 5_000]
WIDER = {"embed_dim": 24, "num_heads": (2,) * 6, "ffn_dim": (32,) * 6}


def rngs(rows, seed=0):
    return Draws(seed, 0).rows(list(range(rows)))


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_each_row_keeps_exactly_its_share_and_hides_no_padding(lengths, ratio, seed):
    hidden = random_masks(lengths, ratio=ratio, rngs=rngs(len(lengths), seed))
    assert hidden.shape == (len(lengths), max(lengths))
    for row, length in zip(hidden, lengths, strict=True):
        kept = length - row.sum()
        assert not row[length:].any()
        assert kept == num_kept(length, ratio)
        assert abs(kept - max(1, length * (1 - ratio))) < 1


def test_as_many_are_kept_as_in_the_papers_code():
    assert [num_kept(196, ratio) for ratio in (0.75, 0.95, 0.98)] == [49, 9, 3]
    assert num_kept(512, 0.8) == 102
    assert num_kept(100, 0.9) == 10  # int(100 * (1 - 0.9)) is 9
    assert num_kept(1, 0.9) == 1


def test_every_patch_is_hidden_as_often_as_another():
    generators = [np.random.default_rng([1, row]) for row in range(2_000)]
    hidden = random_masks([40] * 2_000, ratio=0.75, rngs=generators)
    assert (hidden.sum(1) == 30).all()
    # Five standard deviations of a share of 2,000 draws.
    assert np.abs(hidden.mean(0) - 0.75).max() < 5 * (0.75 * 0.25 / 2_000) ** 0.5


@torch.no_grad()
@pytest.mark.parametrize("normalize_targets", [True, False])
def test_the_loss_is_the_papers_written_plainly(
    normalize_targets, make_objective, make_batch, some_rows
):
    """Row by row, in double precision, without gather, scatter, padding or reductions of torch."""
    changes = {"normalize_targets": normalize_targets, "feature_weight": 3.0}
    objective = make_objective("dmae", **changes).double()
    batch = make_batch(LENGTHS)
    batch = dataclasses.replace(batch, waveform=batch.waveform.double())
    made = objective(batch, Draws(0, 0))
    encoder, teacher = objective.encoder, objective.teacher
    lengths = np.array([encoder.config.num_patches(size) for size in LENGTHS])
    masks = random_masks(lengths, ratio=0.75, rngs=rngs(3))
    errors, distances = [], []
    for row, length in enumerate(lengths):
        alone = some_rows(batch, [row])
        patches = encoder.patches(alone.waveform)
        visible = shown(masks[row : row + 1, :length], lengths[row : row + 1], torch.device("cpu"))
        seen = encoder.encode(patches, visible=visible)
        guessed = objective.decoder(seen.normed, visible, int(length), None)[0].numpy()
        wanted = (patches[0].numpy() + 5.0) / 4.0
        if normalize_targets:
            wanted = wanted - wanted.mean(1, keepdims=True)
            wanted = wanted / np.sqrt(wanted.var(1, ddof=1, keepdims=True) + 1e-6)
        hidden = masks[row, :length]
        errors += ((guessed - wanted)[hidden] ** 2).mean(1).tolist()
        given_ = objective.projection(seen.hidden_states[3])[0].numpy()
        known = teacher.encode(patches, visible=visible).hidden_states[4][0].numpy()
        units = [some / np.linalg.norm(some, axis=1, keepdims=True) for some in (given_, known)]
        assert len(units[0]) == 1 + length - hidden.sum()  # CLS, too
        distances.append(hidden.sum() * np.abs(units[0] - units[1]).mean())
    assert made.count == len(errors)
    # Features are compared in float32, so that bfloat16 does not round them away.
    assert float(made.total) == pytest.approx(sum(errors) + 3.0 * sum(distances), rel=1e-5)
    assert float(made.parts["reconstruction"]) == pytest.approx(np.mean(errors), rel=1e-5)
    assert float(made.parts["feature_distance"]) == pytest.approx(
        sum(distances) / made.count, rel=1e-5
    )


def test_the_teachers_layers_beyond_three_quarters_never_run(make_objective, make_batch):
    objective = make_objective("dmae").train()
    ran = []
    for number, layer in enumerate(objective.teacher.layers, start=1):
        layer.register_forward_hook(lambda *call, number=number: ran.append((number, call[-1][0])))
    objective.teacher.norm.register_forward_hook(lambda *_call: pytest.fail("it has no use"))
    batch = make_batch([8_000] * 3)
    objective(batch, Draws(0, 0)).total.backward()
    assert [number for number, _ in ran] == [1, 2, 3, 4]  # of six
    tokens = 1 + num_kept(objective.encoder.config.num_patches(8_000), 0.75)
    assert all(hidden.shape == (3, tokens, 24) for _, hidden in ran)
    assert not any(hidden.requires_grad for _, hidden in ran)


def test_three_quarters_of_the_papers_encoders_are_18_and_9_layers(make_patch_encoder):
    encoder = make_patch_encoder().config
    recipe = Recipe(objective="dmae", encoder=encoder)
    deep = [
        dataclasses.replace(encoder, num_heads=(2,) * depth, ffn_dim=(4,) * depth)
        for depth in (24, 12, 6, 4, 1)
    ]
    assert [recipe.stop(config) for config in deep] == [18, 9, 4, 3, 1]


def test_the_teacher_is_not_changed_by_training_and_stays_in_eval_mode(make_objective, make_batch):
    objective = make_objective("dmae").train()
    assert objective.encoder.training
    assert not any(part.training for part in objective.teacher.modules())
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    learner = Learner(
        objective, OptimizerConfig(warmup_updates=0, weight_decay=0.5), updates=3, seed=0
    )
    optimizer = learner.configure_optimizers()["optimizer"]
    for step in range(2):
        objective(make_batch(LENGTHS, seed=step), Draws(0, step)).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, tensor in objective.state_dict().items():
        same = torch.equal(tensor, before[name])
        assert same == name.startswith("teacher."), name


@torch.no_grad()
def test_features_of_a_student_that_is_its_teacher_are_at_no_distance(
    make_patch_encoder, make_batch
):
    student, teacher = make_patch_encoder(), make_patch_encoder()
    recipe = Recipe(
        objective="dmae",
        encoder=student.config,
        decoder=DecoderConfig(dim=8, num_heads=2, ffn_dim=8, num_layers=1),
    )
    objective = Dmae(student, recipe, teacher)
    objective.projection.weight.copy_(torch.eye(16))
    objective.projection.bias.zero_()
    made = objective(make_batch(LENGTHS), Draws(0, 0))
    assert float(made.parts["feature_distance"]) == pytest.approx(0.0, abs=1e-6)
    assert float(made.total) / made.count == pytest.approx(
        float(made.parts["reconstruction"]), abs=1e-5
    )


@torch.no_grad()
def test_the_weight_weighs_the_distance_and_no_teacher_is_no_distance(make_objective, make_batch):
    batch = make_batch(LENGTHS)
    parts = {}
    for weight in (0.0, 1.0, 10.0):
        made = make_objective("dmae", feature_weight=weight)(batch, Draws(0, 0))
        parts[weight] = (float(made.total) / made.count, made.parts)
    assert "feature_distance" not in parts[0.0][1]
    distance = float(parts[1.0][1]["feature_distance"])
    assert distance > 0.01
    assert parts[0.0][0] == pytest.approx(float(parts[0.0][1]["reconstruction"]))
    assert parts[10.0][0] - parts[1.0][0] == pytest.approx(9 * distance, rel=1e-4)


def test_visible_patches_are_not_scored_and_hidden_ones_are(make_objective, make_batch):
    objective = make_objective("dmae", feature_weight=0.0, normalize_targets=False)
    batch = make_batch([8_000])
    patches = objective.encoder.patches(batch.waveform)
    hidden = random_masks([patches.shape[1]], ratio=0.75, rngs=rngs(1))[0]
    losses = []
    for changed in (None, int(np.flatnonzero(hidden)[0])):
        other = patches.clone()
        if changed is not None:
            other[0, changed] += 1.0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(objective.encoder, "patches", lambda _waveform, other=other: other)
            heard = []
            handle = objective.decoder.register_forward_hook(
                lambda *call, heard=heard: heard.append(call[-1].detach())
            )
            losses.append((float(objective(batch, Draws(0, 0)).total.detach()), heard[0]))
            handle.remove()
    assert losses[0][0] != losses[1][0]
    assert torch.equal(losses[0][1], losses[1][1])  # not a word of it came through


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_mels": 16}, "the teacher has encoder.num_mels 16 where the recipe has 8"),
        ({"patch_frames": 2}, "encoder.patch_frames 2 where the recipe has 4"),
        ({"cls_token": False}, "encoder.cls_token False where the recipe has True"),
    ],
)
def test_a_teacher_that_sees_other_patches_is_refused(changes, said, make_patch_encoder):
    student = make_patch_encoder()
    recipe = Recipe(objective="dmae", encoder=student.config)
    with pytest.raises(RecipeError, match=said):
        Dmae(student, recipe, make_patch_encoder(**(WIDER | changes)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mask_ratio": 0.0}, r"mask_ratio must lie in \(0, 1\)"),
        ({"mask_ratio": 1.0}, r"mask_ratio must lie in \(0, 1\)"),
        ({"feature_depth": 1.1}, r"feature_depth in \(0, 1\]"),
        ({"feature_weight": -1.0}, "feature_weight must be 0 or more"),
        (
            {"batch": BatchConfig(min_seconds=0.05, crop_seconds=1.0)},
            "batch.min_seconds must hold two patches or more of 4 frames",
        ),
    ],
)
def test_impossible_settings_are_refused(changes, said, make_patch_encoder):
    values = {"objective": "dmae", "encoder": make_patch_encoder().config}
    Recipe(**values)
    with pytest.raises(ValueError, match=said):
        Recipe(**(values | changes))


@pytest.mark.parametrize("changes", [{"dim": 10}, {"dim": 24, "num_heads": 16}, {"num_layers": 0}])
def test_an_impossible_decoder_is_refused(changes):
    with pytest.raises(ValueError, match="must be"):
        DecoderConfig(**changes)
