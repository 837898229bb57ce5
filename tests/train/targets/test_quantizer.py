"""Product quantization: choices, gradients straight through them, and perplexity's bounds."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from train.targets.quantizer import GumbelQuantizer

GROUPS, ENTRIES, WIDTH = 2, 4, 6


def quantizer(*, groups=GROUPS, entries=ENTRIES, width=WIDTH, seed=0, training=False):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = GumbelQuantizer(groups * entries, width, groups=groups, entries=entries)
        torch.nn.init.eye_(made.weight_proj.weight)  # features are logits
    return made.train(training)


def random_logits(frames, seed=0, groups=GROUPS, entries=ENTRIES):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, groups * entries, generator=generator)


def one_hot_logits(choices, entries=ENTRIES):
    """(frames, groups) of entries to logits that leave no doubt."""
    chosen = functional.one_hot(torch.as_tensor(choices), entries)
    return 1e3 * chosen.flatten(1).float()


@pytest.mark.parametrize("training", [False, True])
def test_every_choice_of_entries_has_a_code_of_its_own_and_their_vectors_side_by_side(training):
    made = quantizer(groups=3, entries=4, training=training)
    choices = torch.tensor(list(itertools.product(range(4), repeat=3)))
    quantized = made(one_hot_logits(choices), 1.0)
    assert sorted(quantized.codes.tolist()) == list(range(64))
    books = made.codevectors.detach().view(3, 4, 2)
    wanted = torch.stack(
        [torch.cat([books[g, entry] for g, entry in enumerate(row)]) for row in choices.tolist()]
    )
    assert torch.allclose(quantized.vectors, wanted, atol=1e-6)


def test_in_eval_the_likeliest_entries_are_chosen_and_nothing_is_drawn():
    made = quantizer()
    logits = random_logits(50)
    first, second = made(logits, 2.0), made(logits, 0.1)
    likeliest = logits.view(50, GROUPS, ENTRIES).argmax(-1)
    assert torch.equal(first.codes, likeliest[:, 0] + ENTRIES * likeliest[:, 1])
    assert torch.equal(first.vectors, second.vectors)


@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_in_training_an_entry_is_drawn_as_often_as_its_softmax_says(temperature):
    # Gumbel's trick: at any temperature the hard choice follows the softmax at temperature 1
    made = quantizer(groups=1, training=True)
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codes = made(logits.expand(20_000, 4), temperature).codes
    shares = np.bincount(codes, minlength=4) / 20_000
    wanted = logits.softmax(0).numpy()
    # five deviations of a share of 20,000 draws
    np.testing.assert_allclose(shares, wanted, atol=5 * 0.5 / 20_000**0.5)


@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_the_gradient_is_the_soft_choices_straight_through_the_hard_one(temperature, monkeypatch):
    made = quantizer(training=True)
    noise = torch.zeros(())
    softmax = functional.gumbel_softmax

    def noted(logits, **settings):
        nonlocal noise
        state = torch.random.get_rng_state()
        drawn = -torch.empty_like(logits).exponential_().log()
        torch.random.set_rng_state(state)
        noise = drawn
        return softmax(logits, **settings)

    monkeypatch.setattr(functional, "gumbel_softmax", noted)
    logits, direction = random_logits(30), torch.randn(30, WIDTH)
    quantized = made(logits, temperature)
    (quantized.vectors * direction).sum().backward()
    books = made.codevectors.detach().view(GROUPS, ENTRIES, -1)
    projected = made.weight_proj.weight.detach().clone().requires_grad_()
    soft = ((logits @ projected.T).view(30, GROUPS, ENTRIES) + noise) / temperature
    vectors = torch.einsum("ngv,gvd->ngd", soft.softmax(-1), books).flatten(1)
    (vectors * direction).sum().backward()
    assert projected.grad.abs().max() > 0.01
    assert torch.allclose(made.weight_proj.weight.grad, projected.grad, atol=1e-4)
    # an entry learns from the frames that chose it, and from no other
    chosen = torch.stack([quantized.codes % ENTRIES, quantized.codes // ENTRIES], 1)
    wanted = torch.zeros(GROUPS, ENTRIES, WIDTH // GROUPS)
    for row, entries in zip(direction.view(30, GROUPS, -1), chosen.tolist(), strict=True):
        for group, entry in enumerate(entries):
            wanted[group, entry] += row[group]
    assert torch.allclose(made.codevectors.grad.view_as(wanted), wanted, atol=1e-4)


def test_diversity_teaches_the_projection_even_in_eval():
    made = quantizer()
    quantized = made(random_logits(30), 1.0)
    assert not quantized.hard_perplexity.requires_grad
    quantized.soft_perplexity.backward()
    assert made.weight_proj.weight.grad.abs().max() > 0
    assert made.codevectors.grad is None


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 40),
    groups=st.integers(1, 4),
    entries=st.integers(1, 30),
    scale=st.floats(0, 100),
    seed=st.integers(0, 99),
)
def test_perplexity_lies_between_one_entry_and_all_of_them_in_each_group(
    frames, groups, entries, scale, seed
):
    made = quantizer(groups=groups, entries=entries, width=groups)
    logits = random_logits(frames, seed, groups, entries) * scale
    with torch.no_grad():
        quantized = made(logits, 1.0)
    for perplexity in (quantized.soft_perplexity, quantized.hard_perplexity):
        # 1e-7 is added to each share before its logarithm
        assert groups * (1 - 1e-5) <= float(perplexity) <= groups * entries * (1 + 1e-5)
    assert float(quantized.hard_perplexity) <= groups * min(entries, frames) * (1 + 1e-5)


@torch.no_grad()
def test_uniform_use_is_the_most_and_a_single_entry_the_least():
    made = quantizer()
    even = one_hot_logits([(entry, entry) for entry in range(ENTRIES)])
    uniform = made(even, 1.0)
    assert float(uniform.soft_perplexity) == pytest.approx(GROUPS * ENTRIES, rel=1e-5)
    assert float(uniform.hard_perplexity) == pytest.approx(GROUPS * ENTRIES, rel=1e-5)
    flat = made(torch.zeros(9, GROUPS * ENTRIES), 1.0)
    assert float(flat.soft_perplexity) == pytest.approx(GROUPS * ENTRIES, rel=1e-5)
    assert float(flat.hard_perplexity) == pytest.approx(GROUPS, rel=1e-5)
    single = made(one_hot_logits([(1, 3)] * 9), 1.0)
    assert float(single.soft_perplexity) == pytest.approx(GROUPS, rel=1e-5)


@torch.no_grad()
def test_perplexity_is_that_of_the_mean_choice_not_the_mean_of_perplexities():
    logits = random_logits(25, 3)
    shares = logits.double().view(25, GROUPS, ENTRIES).softmax(-1).mean(0).numpy()
    wanted = sum(np.exp(-(group * np.log(group)).sum()) for group in shares)
    assert float(quantizer()(logits, 1.0).soft_perplexity) == pytest.approx(wanted, rel=1e-5)


@torch.no_grad()
def test_books_and_projection_start_as_in_the_reference():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = GumbelQuantizer(512, 256, groups=2, entries=320)
    assert made.codevectors.shape == (1, 640, 128)
    assert 0.0 <= float(made.codevectors.min()) <= float(made.codevectors.max()) < 1.0
    assert float(made.codevectors.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(made.weight_proj.weight.std()) == pytest.approx(1.0, abs=0.01)
    assert (made.weight_proj.bias == 0).all()
