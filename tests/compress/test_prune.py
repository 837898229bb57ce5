"""Cutting: what is left equals what was there without the units that went."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_cases import CONFIG, FAMILY, encoder_of, recipe_of

from compress.prune import importance
from compress.prune.budget import Scores, choose_widths
from compress.prune.graph import cut
from compress.prune.parts import parts_of, resized
from compress.prune.recipe import HeadLimits, UnitLimits
from train.models.wav2vec2 import load_encoder, save_encoder

WAVEFORM = torch.randn(2, 90, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.fixture(params=FAMILY, scope="module")
def encoder(request):
    return encoder_of(FAMILY[request.param])


def random_choice(encoder, recipe, seed):
    """Parts, and of each some units to keep, drawn by the seed."""
    parts, rng = parts_of(encoder.config, recipe), np.random.default_rng(seed)
    kept = []
    for part in parts:
        width = rng.choice(part.widths)
        kept.append(np.sort(rng.permutation(part.num_units)[:width]))
    return parts, kept


def reading(encoder, part, unit):
    """The weights that read a unit of a part of one layer, as a view."""
    (layer,) = part.layers
    if part.kind == "heads":
        dim = encoder.config.head_dim
        weight = encoder.layers[layer].attention.out_proj.weight
        return weight[:, unit * dim : (unit + 1) * dim]
    if part.kind == "ffn":
        return encoder.layers[layer].ffn.down.weight[:, unit]
    if layer + 1 < len(encoder.feature_extractor):
        return encoder.feature_extractor[layer + 1].conv.weight[:, unit]
    return encoder.feature_projection.weight[:, unit]


def silence(encoder, parts, kept):
    """A copy whose readers of pruned heads and FFN units have zero weights: the plain oracle."""
    silent = copy.deepcopy(encoder)
    with torch.no_grad():
        for part, stays in zip(parts, kept, strict=True):
            for unit in set(range(part.num_units)) - set(stays.tolist()):
                for layer in part.layers:
                    reading(silent, dataclasses.replace(part, layers=(layer,)), unit).zero_()
    return silent


@torch.no_grad()
def assert_same_outputs(one, other, lengths=None):
    first, second = one(WAVEFORM, lengths), other(WAVEFORM, lengths)
    pairs = [*zip(first.hidden_states, second.hidden_states, strict=True)]
    for mine, theirs in [*pairs, *zip(first.ffn_outputs, second.ffn_outputs, strict=True)]:
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_without_heads_and_ffn_units_it_is_the_original_with_them_silenced(encoder, seed):
    parts, kept = random_choice(encoder, recipe_of(conv_channels=None), seed)
    pruned = cut(encoder, parts, kept)
    lengths = torch.tensor([90, 60]) if seed % 2 else None
    assert_same_outputs(pruned, silence(encoder, parts, kept), lengths)
    assert pruned.config == resized(encoder.config, parts, [len(units) for units in kept])


@pytest.mark.parametrize("seed", range(4))
def test_without_channels_that_no_norm_mixes_it_is_the_original_with_them_silenced(seed):
    encoder = encoder_of(CONFIG)  # GroupNorm is a norm of each channel alone
    limits = UnitLimits(least=1, round_to=1, whole_layers=(2,))  # the last is mixed by a LayerNorm
    parts, kept = random_choice(encoder, recipe_of(conv_channels=limits), seed)
    assert_same_outputs(cut(encoder, parts, kept), silence(encoder, parts, kept))


@pytest.mark.parametrize("seed", range(4))
def test_kept_channels_are_the_originals_in_their_order_in_every_tensor(encoder, seed):
    recipe = recipe_of(heads=None, ffn=None)
    parts, kept = random_choice(encoder, recipe, seed)
    pruned, before = cut(encoder, parts, kept).state_dict(), encoder.state_dict()
    inputs = np.array([0])
    expected = dict(before)
    for index, stays in enumerate(kept):
        place = f"feature_extractor.{index}"
        weight = before[f"{place}.conv.weight"]
        expected[f"{place}.conv.weight"] = weight[torch.tensor(stays)][:, torch.tensor(inputs)]
        for name in (f"{place}.conv.bias", f"{place}.norm.weight", f"{place}.norm.bias"):
            if name in before:
                expected[name] = before[name][torch.tensor(stays)]
        inputs = stays
    for name in ("feature_norm.weight", "feature_norm.bias"):
        expected[name] = before[name][torch.tensor(inputs)]
    expected["feature_projection.weight"] = before["feature_projection.weight"][:, inputs]
    assert pruned.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in pruned.items())


def test_cutting_leaves_the_original_as_it_is_and_keeps_all_where_nothing_goes(encoder):
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    parts = parts_of(encoder.config, recipe_of())
    cut(encoder, parts, [np.arange(part.widths[-1]) for part in parts])
    whole = cut(encoder, parts, [np.arange(part.num_units) for part in parts])
    assert whole.config == encoder.config
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert torch.equal(whole.state_dict()[name], before[name])


def test_what_is_left_is_an_ordinary_checkpoint_that_runs_and_learns(encoder, tmp_path):
    parts, kept = random_choice(encoder, recipe_of(), seed=3)
    pruned = cut(encoder, parts, kept)
    save_encoder(tmp_path / "model", pruned.config, pruned.state_dict(), provenance={})
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "config.json", "model.safetensors",
    }  # fmt: skip
    again = load_encoder(tmp_path / "model").eval()
    assert again.config == pruned.config
    assert_same_outputs(again.double(), pruned.float().double())  # single precision is stored
    again(WAVEFORM).output.square().sum().backward()  # in eval mode, where no layer is dropped
    missing = [name for name, weight in again.named_parameters() if weight.grad is None]
    assert missing in ([], ["mask_embedding"])


def loudest_last(part):
    """Scores that rise with the unit's number."""
    return np.arange(1.0, part.num_units + 1)


def making(encoder, kind, layer, unit):
    """The weights that make a unit, as views."""
    if kind == "conv_channels":
        return [encoder.feature_extractor[layer].conv.weight[unit]]
    if kind == "ffn":
        return [encoder.layers[layer].ffn.up.weight[unit]]
    attention, dim = encoder.layers[layer].attention, encoder.config.head_dim
    rows = slice(unit * dim, (unit + 1) * dim)
    return [getattr(attention, f"{name}_proj").weight[rows] for name in ("q", "k", "v")]


def test_units_of_smallest_norm_go_first(encoder):
    encoder = copy.deepcopy(encoder)
    quiet = {"conv_channels": [3, 7], "heads": [1], "ffn": [2, 5, 11]}
    parts = parts_of(encoder.config, recipe_of())
    with torch.no_grad():
        for part in parts:
            for unit, layer in (
                (unit, layer) for unit in quiet[part.kind] for layer in part.layers
            ):
                reading(encoder, dataclasses.replace(part, layers=(layer,)), unit).mul_(1e-3)
                for made in making(encoder, part.kind, layer, unit):
                    made.mul_(1e-3)
    for norm in ("l1", "l2"):
        scores = importance.magnitude(encoder, parts, norm)
        for index, part in enumerate(parts):
            stays = scores.kept(index, part.num_units - len(quiet[part.kind]))
            assert set(range(part.num_units)) - set(stays.tolist()) == set(quiet[part.kind])


def test_magnitude_is_the_norm_of_a_units_weights():
    encoder = encoder_of(CONFIG)
    parts = parts_of(CONFIG, recipe_of())
    found = {
        norm: dict(zip(parts, importance.magnitude(encoder, parts, norm).by_part, strict=True))
        for norm in ("l1", "l2")
    }
    ffn, heads = parts[-1], parts[3]
    block, attention = encoder.layers[1].ffn, encoder.layers[0].attention
    weights = torch.cat([block.up.weight, block.down.weight.T], dim=1)
    head = torch.cat(
        [
            *(getattr(attention, f"{name}_proj").weight for name in ("q", "k", "v")),
            attention.out_proj.weight.T,
        ],
        dim=1,
    ).reshape(4, -1)
    # the library sums in float32
    for norm, order in (("l1", 1), ("l2", 2)):
        for part, rows in ((ffn, weights), (heads, head)):
            wanted = rows.detach().norm(p=order, dim=1).numpy()
            np.testing.assert_allclose(found[norm][part], wanted, rtol=1e-6)


CLIPS = [
    np.random.default_rng(number).normal(0, 0.3, 120 + number).astype(np.float32)
    for number in range(3)
]


def test_a_unit_that_does_nothing_is_worth_nothing_on_recordings(encoder):
    encoder = copy.deepcopy(encoder)
    recipe = recipe_of()
    parts = parts_of(encoder.config, recipe)
    with torch.no_grad():
        for layer in encoder.layers:
            layer.attention.out_proj.weight[:, 3:6] = 0.0  # of head 1; its q, k and v are loud
            layer.attention.v_proj.weight[3:6] *= 100.0
            layer.ffn.down.weight[:, 4] = 0.0
            layer.ffn.up.weight[4] *= 100.0
        encoder.feature_extractor[1].conv.weight[:, 9] = 0.0
    scores = importance.taylor(encoder, parts, CLIPS, seed=0)
    dead = {"heads": {1}, "ffn": {4}}
    for part, worth in zip(parts, scores.by_part, strict=True):
        silent = dead.get(part.kind, {9} if part.layers == (0,) else set())
        assert {int(unit) for unit in np.flatnonzero(worth == 0.0)} == silent, part


def test_on_recordings_a_unit_is_worth_what_the_states_move_without_it():
    """Against the distance itself, over small steps towards removal, where it is quadratic."""
    encoder = encoder_of(CONFIG)
    parts = parts_of(CONFIG, recipe_of())
    clip, many = CLIPS[0], 400
    worth = importance.taylor(encoder, parts, [clip] * many, seed=1).by_part
    waveform = torch.from_numpy(clip).double().unsqueeze(0)
    step = 1e-4
    with torch.no_grad():
        before = encoder(waveform).hidden_states
    for place, unit in ((0, 20), (1, 4), (2, 7), (3, 2), (4, 0), (5, 5), (6, 30)):
        moved = copy.deepcopy(encoder)
        with torch.no_grad():
            reading(moved, parts[place], unit).mul_(1 - step)
            after = moved(waveform).hidden_states
        distance = sum(
            float((new - old).norm() / old.norm()) ** 2
            for new, old in zip(after, before, strict=True)
        )
        # chi-square with 400 draws: a standard error of 7 %, four of them allowed
        assert worth[place][unit] == pytest.approx(distance / step**2, rel=0.28), parts[place]


def test_training_settings_do_not_change_what_is_worth_what():
    parts = parts_of(CONFIG, recipe_of())
    slow = encoder_of(CONFIG)
    config = dataclasses.replace(CONFIG, feature_grad_mult=1.0, dropout=0.0, layerdrop=0.0)
    plain = encoder_of(config).train()
    for mine, theirs in zip(
        importance.taylor(slow, parts, CLIPS, seed=0).by_part,
        importance.taylor(plain, parts, CLIPS, seed=0).by_part,
        strict=True,
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


def test_random_is_a_function_of_its_seed():
    parts = parts_of(CONFIG, recipe_of())
    first, second, other = (importance.random(parts, seed=seed) for seed in (3, 3, 4))
    assert all(map(np.array_equal, first.by_part, second.by_part))
    assert not any(map(np.array_equal, first.by_part, other.by_part))


def test_with_alibi_a_head_goes_from_every_layer_or_from_none():
    encoder = encoder_of(FAMILY["alibi, no mask embedding"])
    recipe = recipe_of(conv_channels=None, ffn=None, heads=HeadLimits(ratio=0.4))
    (part,) = parts_of(encoder.config, recipe)
    assert part.layers == (0, 1)
    scores = Scores((loudest_last(part),), comparable=False)
    widths = choose_widths(encoder.config, (part,), scores, recipe)
    assert cut(encoder, (part,), [scores.kept(0, widths[0])]).config.num_heads == (3, 3)
