"""Laws that hold for every objective: padding, passes, what hides, and where gradients go."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.config import OptimizerConfig
from train.learner import Learner
from train.models.wav2vec2_config import StreamingConfig
from train.objectives._parts import frame_mask
from train.pretrain import objective_names
from train.seeding import Draws

LENGTHS = [16_000, 9_000, 5_000]
SEPARATE = {
    "hubert": {"feature_penalty": 0.0},
    "wav2vec2": {"feature_penalty": 0.0, "diversity_weight": 0.0},
}
"""Without what is a mean over a whole pass: how its features spread is no row's own."""

OF_FRAMES = [name for name in objective_names() if name != "dmae"]
"""Those that hide frames of the waveform; patches share samples: test_dmae.py."""

SAYS = dict.fromkeys(OF_FRAMES, "final_proj") | {"data2vec2": "decoder"}
"""The module that speaks for the student."""


@pytest.fixture(params=objective_names())
def name(request):
    return request.param


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1_200, 16_000), min_size=2, max_size=4),
    at=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("name", objective_names())
def test_a_batch_counts_what_its_rows_count_alone_whatever_padding_stands_beside_them(
    name, lengths, at, seed, make_objective, make_batch, some_rows, score
):
    objective = make_objective(name, **SEPARATE.get(name, {}))
    batch = make_batch(lengths, seed=seed)
    whole = score(objective, batch, seed)
    rows = list(range(len(lengths)))
    for parts in ([[row] for row in rows], [rows[:at], rows[at:]]):
        dealt = [score(objective, some_rows(batch, part), seed) for part in parts if part]
        # float32 kernels of another length sum in another order; cosines are divided by 0.1
        assert sum(part.count for part in dealt) == pytest.approx(whole.count)
        total = sum(float(part.total) for part in dealt)
        assert total == pytest.approx(float(whole.total), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ["hubert", "wav2vec2", "data2vec"])
def test_padding_costs_an_encoder_that_streams_nothing(
    name, make_objective, make_batch, some_rows, score
):
    streaming = {"streaming": StreamingConfig(chunk_frames=4, left_frames=6)}
    objective = make_objective(name, encoder=streaming, **SEPARATE.get(name, {}))
    batch = make_batch(LENGTHS)
    assert objective.encoder.config.num_frames(LENGTHS[0]) == 50
    whole = score(objective, batch)
    dealt = [score(objective, some_rows(batch, [row])) for row in range(len(LENGTHS))]
    assert sum(part.count for part in dealt) == pytest.approx(whole.count)
    total = sum(float(part.total) for part in dealt)
    assert total == pytest.approx(float(whole.total), rel=1e-4, abs=1e-4)


def test_a_rows_number_draws_its_mask_not_its_place(
    name, make_objective, make_batch, some_rows, score
):
    objective = make_objective(name, **SEPARATE.get(name, {}))
    first = some_rows(make_batch(LENGTHS), [0])
    second = dataclasses.replace(first, rows=[1])
    assert float(score(objective, first).total) != float(score(objective, second).total)
    assert float(score(objective, first).total) == float(score(objective, first).total)


KEYWORDS = "data2vec_kws"
FRAMES = dict.fromkeys(OF_FRAMES, (320, 400)) | {KEYWORDS: (160, 480)}
"""Samples from frame to frame, and those that a frame sees."""


def hidden_of_first_copy(objective, batch):
    """Hidden frames of row 0 and whether the objective makes copies."""
    if hasattr(objective.recipe, "num_masks"):
        return objective._masks(batch, Draws(0, 0))[0]
    return frame_mask(batch, objective.encoder.config, objective.recipe.mask, Draws(0, 0))[0]


def said(objective, batch):
    """What the student says of row 0's frames, in the order in which they are scored."""
    heard = []
    module = getattr(objective, SAYS[objective.recipe.objective])
    handle = module.register_forward_hook(lambda *call: heard.append(call[-1]))
    with torch.no_grad():
        loss = objective(batch, Draws(0, 0))
    handle.remove()
    return heard[0][0] if heard[0].ndim == 3 else heard[0], loss


@pytest.mark.parametrize("name", OF_FRAMES)
def test_what_a_student_says_knows_nothing_of_samples_that_only_hidden_frames_see(
    name, make_objective, make_batch
):
    # without normalization, which mixes all samples of an utterance into each
    changes = {"masked_share": 1.0} if name == "hubert" else {}
    encoder = {} if name == KEYWORDS else {"normalize_waveform": False}
    objective = make_objective(name, encoder=encoder, **changes)
    batch = make_batch([16_000])
    hidden = hidden_of_first_copy(objective, batch)
    unseen = np.ones(16_000, dtype=bool)
    hop, width = FRAMES[name]
    for frame in np.flatnonzero(~hidden):
        unseen[hop * frame : hop * frame + width] = False
    unseen[hop * (len(hidden) - 1) + width :] = False  # no frame sees these
    assert unseen.sum() > 1_000
    changed = batch.waveform.clone()
    changed[0, unseen] = torch.randn(int(unseen.sum()), generator=torch.Generator().manual_seed(1))
    other = dataclasses.replace(batch, waveform=changed)
    before, loss = said(objective, batch)
    after, other_loss = said(objective, other)
    assert torch.equal(before, after)
    if name != "hubert":  # whose targets were made before
        assert float(loss.total) != float(other_loss.total)
    unhidden = batch.waveform.clone()
    # not the first of its samples: a Hann window is blind to that
    unhidden[0, hop * int(np.flatnonzero(~hidden)[0]) + width // 2] += 1.0
    moved, _ = said(objective, dataclasses.replace(batch, waveform=unhidden))
    assert not torch.equal(before, moved)


def test_every_parameter_that_is_optimized_gets_a_finite_gradient(name, make_objective, make_batch):
    encoder = {"layerdrop": 0.0} if name in OF_FRAMES and name != KEYWORDS else {}
    objective = make_objective(name, encoder=encoder).train()
    learner = Learner(objective, OptimizerConfig(), updates=1, seed=0)
    groups = learner.configure_optimizers()["optimizer"].param_groups
    optimized = {id(weight) for group in groups for weight in group["params"]}
    objective(make_batch(LENGTHS), Draws(0, 0)).total.backward()
    for key, weight in objective.named_parameters():
        if key.startswith("teacher."):  # follows, or is given
            assert weight.grad is None, key
            assert id(weight) not in optimized, key
            assert not weight.requires_grad, key
        else:
            assert id(weight) in optimized, key
            assert weight.grad is not None, key
            assert torch.isfinite(weight.grad).all(), key
            # a key's bias moves all scores of a query alike
            assert key.endswith("k_proj.bias") or weight.grad.abs().max() > 0, key


def bare(name):
    if name == "data2vec2":
        return {"mask_ratio": 1e-6}
    if name == "dmae":  # hides one of two patches whatever the ratio, but not the only one
        return {"mask_ratio": 1e-6, "encoder": {"patch_mels": 8}}
    from train.config import MaskConfig

    return {"mask": MaskConfig(prob=0.0, min_spans=0)}


def test_without_a_hidden_frame_loss_and_gradients_are_finite(name, make_objective, make_batch):
    objective = make_objective(name, **bare(name)).train()
    made = objective(make_batch([1_100] if name == "dmae" else LENGTHS), Draws(0, 0))
    assert made.count == 0 or name == "hubert"  # which scores visible frames too
    assert torch.isfinite(made.total)
    made.total.backward()
    for key, weight in objective.named_parameters():
        assert weight.grad is None or torch.isfinite(weight.grad).all(), key


def test_a_rows_crop_of_two_frames_is_scored_or_left_out_but_never_spoils_the_rest(
    name, make_objective, make_batch, some_rows, score
):
    objective = make_objective(name, **SEPARATE.get(name, {}))
    batch = make_batch([16_000, 720])
    # of a waveform; of a spectrogram; of a window, most of it silence
    assert objective.encoder.config.num_frames(720) in (2, 3, 98)
    both = score(objective, batch)
    alone = score(objective, some_rows(batch, [0]))
    assert torch.isfinite(both.total)
    assert both.count >= alone.count
    assert float(both.total) >= float(alone.total) * (1 - 1e-5)


def test_in_mixed_precision_losses_are_taken_in_float32(name, make_objective, make_batch):
    objective = make_objective(name, **SEPARATE.get(name, {}))
    batch = make_batch(LENGTHS)
    kinds = []

    def note(function):
        def noted(first, second, *args, **kwargs):
            kinds.append(first.dtype)
            return function(first, second, *args, **kwargs)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        for loss in ("cross_entropy", "mse_loss", "l1_loss"):
            patch.setattr(torch.nn.functional, loss, note(getattr(torch.nn.functional, loss)))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            made = objective(batch, Draws(0, 0))
    assert kinds
    assert set(kinds) == {torch.float32}
    assert made.total.dtype == torch.float32
