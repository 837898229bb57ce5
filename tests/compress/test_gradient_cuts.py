"""A cut's gradient is that of torch's own slices, and nothing outside the cut has any."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_spaces import tiny_space

from compress.distill.lighthubert import counted_l1
from compress.elastic import WHOLE
from compress.gradient_cuts import cut_out
from compress.slicing import Cut, slicing_plan
from compress.supernet import Supernet


@st.composite
def axes(draw):
    """An axis of 1 to 9 and slices of it: the whole, or some that ascend."""
    size = draw(st.integers(1, 9))
    if draw(st.booleans()):
        return size, WHOLE
    marks = draw(st.lists(st.integers(0, size), min_size=2, max_size=6, unique=True).map(sorted))
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    return size, tuple(slice(start, stop) for start, stop in pairs)


@given(shape=st.lists(axes(), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_values_and_gradients_are_those_of_plain_slices(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes, cuts = zip(*shape, strict=True)
    cut = Cut("weight", cuts)
    stored = torch.randn(sizes, generator=generator, dtype=torch.float64, requires_grad=True)
    plain = stored.detach().clone().requires_grad_()
    mine, theirs = cut_out(cut, stored), cut.take(plain, torch.cat)
    assert torch.equal(mine, theirs)
    weights = torch.randn(mine.shape, generator=generator, dtype=torch.float64)
    (mine * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert torch.equal(stored.grad, plain.grad)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gradients_of_a_subnet_are_zero_outside_of_its_slice(depth):
    space = tiny_space()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(depth)
        # neither dropout nor layerdrop
        supernet, waveform = Supernet(space, 5).eval(), torch.randn(2, 400)
    largest = space.largest()
    subnet = type(largest)(
        space=space.name, embed_dim=4, num_heads=(1, 2, 1)[:depth], ffn_dim=(4, 10, 6)[:depth]
    )
    output = supernet(subnet, waveform)
    prediction = supernet.predict(output.output)
    counted = torch.ones(prediction.shape[:2], dtype=torch.bool)
    counted_l1(prediction, torch.zeros_like(prediction), counted).backward()
    inside = {name: torch.zeros_like(w) for name, w in supernet.encoder.named_parameters()}
    weight_normed = "pos_conv.conv.weight"  # whose two factors have gradients of their own
    for cut in slicing_plan(space, subnet).values():
        if cut.source != weight_normed:
            place = inside[cut.source].requires_grad_()
            cut.take(place, torch.cat).sum().backward()
    for name, weight in supernet.encoder.named_parameters():
        if not name.startswith("pos_conv.conv.param") and name != "mask_embedding":
            kept = inside[name].grad
            if kept is None:
                assert weight.grad is None, name  # a layer that the subnet lacks
            else:
                assert not weight.grad[kept == 0].any(), name
                assert weight.grad[kept == 1].any() or "k_proj.bias" in name, name
    assert not supernet.head.weight.grad[:, 4:].any()
