"""What a dry run says a distillation takes: counted by hand from closed forms, and by torch."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compress.distill.costs import distillation_cost
from compress.distill.stages import DistillRecipe
from compress.folders import recipe_folder
from compress.spaces import get_space
from compress.supernet import Supernet
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.recipe import load_recipe

TEACHER = get_space("otolite-tiny").supernet


def recipe(*overrides):
    return load_recipe(
        "lighthubert-tiny", DistillRecipe, recipe_folder("compress"), list(overrides)
    )


def counted(forward):
    """Multiply-accumulates as torch counts them."""
    # fused attention is not counted on a CPU
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward()
    return counter.get_total_flops() / 2


def test_the_first_stage_costs_six_of_the_largest_and_two_of_the_teacher():
    """Of each multiply-accumulate that torch counts; 8 updates of 16 s in crops of 4 s.

    Torch counts the frame too many that an even kernel of positions gives: 1 part in 10,000.
    """
    space = get_space("otolite-tiny")
    supernet, teacher = Supernet(space, TEACHER.embed_dim).eval(), Wav2Vec2Encoder(TEACHER).eval()
    waveform = torch.zeros(1, 64_000)
    student = counted(lambda: supernet.predict(supernet(space.largest(), waveform).output))
    frozen = counted(lambda: teacher(waveform))
    cost = distillation_cost(recipe("stage1_updates=8"), TEACHER)
    assert cost["stage_1_flops"] == pytest.approx(8 * 4 * (6 * student + 2 * frozen), rel=2e-4)
    by_second = cost["gmacs_per_second_of_audio"]
    assert by_second["largest_subnet"] == pytest.approx(student / 4e9, abs=5e-4)
    assert by_second["teacher"] == pytest.approx(frozen / 4e9, abs=5e-4)


def test_a_sandwich_costs_its_two_extremes_and_what_is_between():
    plain = distillation_cost(recipe(), TEACHER)["gmacs_per_second_of_audio"]
    cost = distillation_cost(recipe("sampling=sandwich", "num_random=0"), TEACHER)
    parts = cost["gmacs_per_second_of_audio"]
    assert parts["subnets_of_an_update"] == pytest.approx(
        plain["largest_subnet"] + plain["smallest_subnet"], abs=2e-3
    )
    assert plain["smallest_subnet"] < plain["subnets_of_an_update"] < plain["largest_subnet"]


def test_hours_follow_from_operations_and_from_the_machine():
    asked = replace(recipe(), stage1_updates=0, stage2_updates=10**7)
    cost = distillation_cost(asked, TEACHER, tflops=2.0)
    assert cost["stage_1_flops"] == 0
    assert cost["hours_on_1_gpu"] == pytest.approx(cost["stage_2_flops"] / 2e12 / 3600, abs=0.06)
    assert cost["hours_assume"].startswith("2 TFLOP/s")
