"""Cutting a recording anywhere changes nothing, and nothing looks ahead."""

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from train.models.streaming import (
    BoundedAttention,
    CausalConv1d,
    SlidingMean,
    States,
    after,
    chunk_ends,
    initial,
    part,
    prefixed,
)

FRAMES, DIM, LEFT = 24, 6, 5


class Attending(nn.Module):
    """Attention with the vector that says what was heard among its states."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = BoundedAttention(DIM, 2, 3, LEFT)
        nn.init.normal_(self.attention.distance_bias)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"seen": (LEFT,), **prefixed("a", self.attention.shapes())}

    def forward(self, signal: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        hidden, new = self.attention(signal.transpose(1, 2), part(states, "a"), states["seen"])
        seen = after(states["seen"], hidden.shape[1])
        return hidden.transpose(1, 2), {"seen": seen, **prefixed("a", new)}


class Averaging(SlidingMean):
    def forward(self, signal: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        means, states = super().forward(signal.transpose(1, 2), states)
        return means.transpose(1, 2), states


LAYERS = {
    "convolution": (lambda: CausalConv1d(DIM, 4, 3, dilation=2), 1),
    "strided": (lambda: CausalConv1d(DIM, 4, 7, stride=3), 3),
    "pointwise": (lambda: CausalConv1d(DIM, 4, 1), 1),
    "attention": (Attending, 1),
    "mean": (lambda: Averaging(DIM, 7), 1),
}


def pieces(layer: nn.Module, signal: Tensor, cuts: list[int]) -> Tensor:
    states = initial(layer.shapes(), len(signal), like=signal)
    outputs = []
    for start, end in zip([0, *cuts], [*cuts, signal.shape[2]], strict=True):
        output, states = layer(signal[:, :, start:end], states)
        outputs.append(output)
        for name, shape in layer.shapes().items():
            assert states[name].shape == (len(signal), *shape)
    return torch.cat(outputs, dim=2)


@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_cutting_changes_nothing_and_nothing_looks_ahead(name: str, data: st.DataObject) -> None:
    make, stride = LAYERS[name]
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layer = make().double().eval()
    signal = torch.randn(2, DIM, FRAMES, generator=generator, dtype=torch.float64)
    places = st.integers(1, FRAMES // stride - 1).map(lambda place: place * stride)
    cuts = sorted(data.draw(st.sets(places, max_size=5)))
    with torch.inference_mode():
        whole = pieces(layer, signal, [])
        torch.testing.assert_close(pieces(layer, signal, cuts), whole)
        later = signal.clone()
        place = data.draw(places)
        later[:, :, place:] += 1.0
        heard = pieces(layer, later, [])
    torch.testing.assert_close(heard[:, :, : place // stride], whole[:, :, : place // stride])
    assert not torch.allclose(heard[:, :, place // stride :], whole[:, :, place // stride :])


def test_attention_is_what_a_mask_over_the_whole_gives() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = Attending().double()
        signal = torch.randn(1, DIM, FRAMES, dtype=torch.float64)
    attention = model.attention
    hidden = signal.transpose(1, 2)

    def heads(projected: Tensor) -> Tensor:
        return projected.view(1, FRAMES, 2, 3).transpose(1, 2)

    ago = torch.arange(FRAMES).unsqueeze(1) - torch.arange(FRAMES)
    mask = attention.distance_bias.detach()[:, ago.clamp(0, LEFT)]
    mask = mask.masked_fill((ago < 0) | (ago > LEFT), -torch.inf)
    mixed = nn.functional.scaled_dot_product_attention(
        heads(attention.q_proj(hidden)),
        heads(attention.k_proj(hidden)),
        heads(attention.v_proj(hidden)),
        attn_mask=mask.unsqueeze(0),
    )
    wanted = attention.out_proj(mixed.transpose(1, 2).reshape(1, FRAMES, -1))
    torch.testing.assert_close(pieces(model, signal, []), wanted.transpose(1, 2))


def test_the_mean_is_of_what_was_heard() -> None:
    layer = Averaging(1, 3).double()
    signal = torch.tensor([[[3.0, 5.0, 7.0, 9.0]]], dtype=torch.float64)
    assert pieces(layer, signal, []).tolist() == [[[3.0, 4.0, 5.0, 7.0]]]


def test_chunk_ends_are_the_last_frames() -> None:
    assert chunk_ends(torch.arange(6.0).view(1, 6, 1), 3).flatten().tolist() == [2.0, 5.0]


@pytest.mark.parametrize("bias", [True, False])
def test_merged_projections_give_the_same(bias: bool) -> None:
    model = Attending().double()
    model.attention = BoundedAttention(DIM, 2, 3, LEFT, bias=bias).double()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    signal = torch.randn(2, DIM, FRAMES, generator=generator, dtype=torch.float64)
    with torch.inference_mode():
        wanted = pieces(model, signal, [])
        model.attention.merge()
        torch.testing.assert_close(pieces(model, signal, [3, 4]), wanted)
    assert not any("q_proj" in name for name in model.state_dict())
