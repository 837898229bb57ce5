"""Choosing widths: limits of a layer hold, totals are honoured exactly."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_cases import CONFIG, FAMILY, recipe_of

from compress import BudgetError
from compress.cost.encoder_params import encoder_params
from compress.cost.macs import macs
from compress.prune import importance
from compress.prune.budget import Scores, choose_widths, costs
from compress.prune.parts import parts_of, resized
from compress.prune.recipe import HeadLimits, PruneRecipe, UnitLimits
from train import RecipeError
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Wav2Vec2Config

CONFIGS = [*FAMILY.values(), Wav2Vec2Config()]


@pytest.mark.parametrize("config", CONFIGS)
def test_parameters_are_counted_as_a_model_has_them(config):
    with torch.device("meta"):
        encoder = Wav2Vec2Encoder(config)
    assert encoder_params(config) == sum(weight.numel() for weight in encoder.parameters())
    assert costs(config).tolist() == [encoder_params(config), macs(config).total]


def smallest(config, parts):
    return costs(resized(config, parts, [part.widths[-1] for part in parts]))


@settings(max_examples=60, deadline=None)
@given(
    config=st.sampled_from([*FAMILY.values()]),
    shares=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    asked=st.sampled_from([(True, False), (False, True), (True, True)]),
    seed=st.integers(0, 99),
    comparable=st.booleans(),
    round_to=st.sampled_from([1, 4, 8]),
)
def test_totals_are_honoured_and_no_step_can_be_taken_back(
    config, shares, asked, seed, comparable, round_to
):
    limits = UnitLimits(least=4, round_to=round_to)
    recipe = recipe_of(conv_channels=limits, ffn=limits)
    parts = parts_of(config, recipe)
    low, high = smallest(config, parts), costs(config)
    targets = [
        int(least + share * (most - least)) if wanted else None
        for least, most, share, wanted in zip(low, high, shares, asked, strict=True)
    ]
    recipe = dataclasses.replace(recipe, target_params=targets[0], target_macs=targets[1])
    scores = Scores(importance.random(parts, seed=seed).by_part, comparable)
    widths = choose_widths(config, parts, scores, recipe)

    def fits(these):
        now = costs(resized(config, parts, these))
        return all(
            target is None or cost <= target for cost, target in zip(now, targets, strict=True)
        )

    assert fits(widths)
    for index, part in enumerate(parts):
        place = part.widths.index(widths[index])
        if place:
            wider = [*widths[:index], part.widths[place - 1], *widths[index + 1 :]]
            assert not fits(wider)


def test_what_is_worth_least_goes_first_by_what_it_saves_where_scores_compare():
    recipe = recipe_of(conv_channels=None, target_params=encoder_params(CONFIG) - 400)
    parts = parts_of(CONFIG, recipe)
    # A head holds 3 * (12 + 1) * 3 + 3 * 12 = 153 parameters, an FFN unit 12 + 1 + 12 = 25.
    for head in (1.0, 0.05):
        scores = Scores(
            tuple(np.full(part.num_units, head if part.kind == "heads" else 0.1) for part in parts),
            comparable=True,
        )
        widths = choose_widths(CONFIG, parts, scores, recipe)
        chosen = resized(CONFIG, parts, widths)
        if head == 1.0:
            assert chosen.num_heads == CONFIG.num_heads
            assert sum(chosen.ffn_dim) == sum(CONFIG.ffn_dim) - 16
        else:
            assert sum(chosen.num_heads) == sum(CONFIG.num_heads) - 3
            assert chosen.ffn_dim == CONFIG.ffn_dim


def test_where_scores_do_not_compare_the_scale_of_a_part_does_not_matter():
    recipe = recipe_of(target_params=encoder_params(CONFIG) * 2 // 3)
    parts = parts_of(CONFIG, recipe)
    plain = importance.random(parts, seed=1)
    scaled = Scores(
        tuple(units * 10.0**index for index, units in enumerate(plain.by_part)), comparable=False
    )
    assert choose_widths(CONFIG, parts, plain, recipe) == choose_widths(
        CONFIG, parts, scaled, recipe
    )


@pytest.mark.parametrize(
    ("full", "limits", "widths", "wanted"),
    [
        (64, UnitLimits(ratio=0.5), (64, 56, 48, 40, 32, 24, 16), 32),
        (64, UnitLimits(ratio=0.3, least=40), (64, 56, 48, 40), 48),
        (20, UnitLimits(ratio=0.5), (20, 16, 8), 16),
        (6, UnitLimits(ratio=0.5), (6,), 6),
        (64, UnitLimits(ratio=0.5, whole_layers=(0,)), (64,), 64),
        (10, UnitLimits(ratio=0.7, least=1, round_to=1), (10, 9, 8, 7, 6, 5, 4, 3), 3),
        (5, HeadLimits(ratio=0.75, largest_ratio=0.9), (5, 4, 3, 2, 1), 2),
    ],
)
def test_a_layer_takes_widths_within_its_limits(full, limits, widths, wanted):
    config = dataclasses.replace(CONFIG, num_heads=(1,), ffn_dim=(full,))
    if isinstance(limits, HeadLimits):
        config = dataclasses.replace(config, num_heads=(full,), ffn_dim=(8,))
        recipe = PruneRecipe(method="structured", heads=limits, target_params=1)
    else:
        recipe = PruneRecipe(method="structured", ffn=limits, target_params=1)
    (part,) = parts_of(config, recipe)
    assert (part.widths, part.wanted) == (widths, wanted)


@pytest.mark.parametrize("name", ["target_params", "target_macs"])
def test_a_total_out_of_reach_names_the_smallest_that_can_be_reached(name):
    parts = parts_of(CONFIG, recipe_of())
    index = ("target_params", "target_macs").index(name)
    low = int(smallest(CONFIG, parts)[index])
    scores = importance.random(parts, seed=0)
    reached = choose_widths(CONFIG, parts, scores, recipe_of(**{name: low}))
    assert reached == tuple(part.widths[-1] for part in parts)
    flag = "--" + name.replace("_", "-")
    with pytest.raises(BudgetError, match=f"smallest has {low:,}.*Raise {flag}"):
        choose_widths(CONFIG, parts, scores, recipe_of(**{name: low - 1}))


def test_a_total_that_holds_already_and_ratios_that_take_nothing_are_told():
    parts = parts_of(CONFIG, recipe_of())
    scores = importance.random(parts, seed=0)
    total = encoder_params(CONFIG)
    with pytest.raises(BudgetError, match=f"the model has {total:,} parameters"):
        choose_widths(CONFIG, parts, scores, recipe_of(target_params=total))
    recipe = PruneRecipe(method="structured", ffn=UnitLimits(ratio=0.5, least=100))
    parts = parts_of(CONFIG, recipe)
    with pytest.raises(BudgetError, match="these ratios take nothing"):
        choose_widths(CONFIG, parts, importance.random(parts, seed=0), recipe)


def test_a_layer_that_is_not_there_cannot_be_left_whole():
    recipe = recipe_of(heads=HeadLimits(whole_layers=(0, 2)))
    with pytest.raises(RecipeError, match=r"heads\.whole_layers names layer 2: .* layers 0 to 1"):
        parts_of(CONFIG, recipe)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_channels": None, "heads": None, "ffn": None}, "nothing may be pruned"),
        ({"conv_channels": None, "heads": None, "ffn": UnitLimits()}, "nothing says how much"),
        ({"target_params": 0}, "must be 1 or more"),
    ],
)
def test_a_recipe_that_prunes_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe_of(**changes)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"ratio": 0.8}, "ratio <= largest_ratio"),
        ({"largest_ratio": 1.0}, "largest_ratio < 1"),
        ({"ratio": -0.1}, "0 <= ratio"),
        ({"least": 0}, "1 or more"),
        ({"round_to": 0}, "1 or more"),
    ],
)
def test_limits_that_cannot_be_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        UnitLimits(**limits)
