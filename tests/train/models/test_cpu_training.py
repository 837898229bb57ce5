"""The faster forms against torch's operators: values and every gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from train.models.cpu_training import Dropout, dropout, strided_conv, time_norm_gelu


def assert_same(ours, theirs, inputs):
    """Values and gradients in float64's reach of each other; float32 sums in another order."""
    gradient = torch.linspace(-1, 1, theirs.numel()).view(theirs.shape)
    for actual, expected in zip(
        (ours, *torch.autograd.grad(ours, inputs, gradient)),
        (theirs, *torch.autograd.grad(theirs, inputs, gradient)),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    kernel=st.integers(1, 11),
    stride=st.integers(1, 6),
    extra=st.integers(0, 20),
    batch=st.integers(1, 3),
)
def test_strided_products_are_a_convolution(kernel, stride, extra, batch):
    torch.manual_seed(0)
    signal = torch.randn(batch, kernel + extra, 4, requires_grad=True)
    weight = torch.randn(5, 4, kernel, requires_grad=True)
    expected = functional.conv1d(signal.transpose(1, 2), weight, stride=stride).transpose(1, 2)
    assert_same(strided_conv(signal, weight, stride), expected, (signal, weight))


@pytest.mark.parametrize("channels", [3, 2**16])  # one block, and several
def test_the_norm_over_time_is_a_group_norm_with_a_gelu(channels):
    torch.manual_seed(0)
    signal = (torch.randn(2, 9, channels) + 0.5).requires_grad_()
    weight = torch.rand(channels).add_(0.5).requires_grad_()
    bias = torch.randn(channels, requires_grad=True)
    normed = functional.group_norm(signal.transpose(1, 2), channels, weight, bias, 1e-5)
    expected = functional.gelu(normed).transpose(1, 2)
    assert_same(time_norm_gelu(signal, weight, bias, 1e-5), expected, (signal, weight, bias))


@pytest.mark.parametrize("prob", [0.0001, 0.1, 0.5, 0.999])
def test_dropout_drops_its_share_and_keeps_the_mean(prob):
    torch.manual_seed(0)
    ones = torch.ones(1_000_003, requires_grad=True)
    dropped = dropout(ones, prob)
    share = float((dropped == 0).float().mean())
    assert share == pytest.approx(prob, abs=4 * (prob * (1 - prob) / 1e6) ** 0.5 + 2**-16)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - prob)), rtol=0.02, atol=0)
    (gradient,) = torch.autograd.grad(dropped.sum(), ones)
    assert torch.equal(gradient, dropped)


def test_dropout_follows_the_seed_and_rests_in_evaluation():
    ones, layer = torch.ones(100), Dropout(0.5)
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(layer(ones))
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], layer(ones))
    assert torch.equal(layer.eval()(ones), ones)
