"""The network is its equation, sees as far as it says, and is the same in any number of tokens."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from train.models.causal_tcn import CausalTcn, CausalTcnConfig
from train.models.frontend_config import FrontEndConfig
from train.models.streaming import initial
from train.recipe import check

FRONT_END = FrontEndConfig(num_mels=7)
TINY = {
    "three": {"patch_frames": 2, "channels": 5, "dilations": (1, 3, 2), "kernel": 3},
    "two taps": {"patch_frames": 3, "channels": 4, "dilations": (4,), "kernel": 2},
}


@pytest.fixture(params=TINY, scope="module")
def body(request):
    """In float64 and eval mode, nothing left at ones and zeros."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        made = CausalTcn(CausalTcnConfig(front_end=FRONT_END, **TINY[request.param]))
        for name, tensor in made.state_dict().items():
            if name.endswith(("norm.weight", "running_var")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("bias", "running_mean")):
                tensor.normal_(std=0.3)
    return made.double().eval()


def recording(tokens, body, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(2, tokens * body.hop_samples, generator=generator).double()


def plainly(body, waveform):
    """By convolutions over whole rows, zeros before them."""
    config = body.config
    before = config.front_end.frame_samples - config.front_end.hop_samples
    frames = body.frontend.spectrum(functional.pad(waveform, (before, 0))).transpose(1, 2)
    normed = body.input_norm(frames)
    kernel = body.patch.linear.weight.unflatten(1, (config.patch_frames, -1)).transpose(1, 2)
    patches = functional.conv1d(normed, kernel, body.patch.linear.bias, stride=config.patch_frames)
    hidden = body.patch.norm(patches).relu()
    for block, dilation in zip(body.blocks, config.dilations, strict=True):
        kernel = block.linear.weight.unflatten(1, (config.kernel, -1)).transpose(1, 2)
        padded = functional.pad(hidden, ((config.kernel - 1) * dilation, 0))
        mixed = functional.conv1d(padded, kernel, block.linear.bias, dilation=dilation)
        hidden = (block.norm(mixed) + hidden).relu()
    return hidden.transpose(1, 2)


def test_it_is_dilated_convolutions_with_residuals(body):
    waveform = recording(15, body)
    with torch.inference_mode():
        wanted = plainly(body, waveform)
        found, _ = body.stream(waveform, initial(body.shapes(), 2, like=waveform))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(body(waveform), wanted[:, -1], rtol=0, atol=1e-12)


@given(cuts=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_pieces_of_any_length_give_the_whole(body, cuts, seed):
    waveform = recording(sum(cuts), body, seed)
    states = initial(body.shapes(), 2, like=waveform)
    with torch.inference_mode():
        wanted, at_the_end = body.stream(waveform, states)
        found = []
        for piece in waveform.split([cut * body.hop_samples for cut in cuts], dim=1):
            vectors, states = body.stream(piece, states)
            found.append(vectors)
    torch.testing.assert_close(torch.cat(found, dim=1), wanted, rtol=0, atol=1e-12)
    assert list(states) == list(body.shapes())
    for name, state in states.items():
        torch.testing.assert_close(state, at_the_end[name], rtol=0, atol=1e-12)


def test_an_answer_sees_as_far_back_as_it_says(body):
    tokens = body.window_samples // body.hop_samples
    assert tokens == 1 + (body.config.kernel - 1) * sum(body.config.dilations)
    waveform = recording(tokens + 2, body)
    start = 2 * body.hop_samples
    # The first frames of a token begin before it: their window is longer than their hop.
    overlap = body.config.front_end.window_samples - body.config.front_end.hop_samples
    before, first = waveform.clone(), waveform.clone()
    before[:, : start - overlap] = 0.0
    first[:, start : start + body.hop_samples] = 0.0
    with torch.inference_mode():
        wanted = body(waveform)
        assert torch.equal(body(before), wanted)
        assert (body(first) - wanted).abs().max() > 1e-9


def test_merging_leaves_one_linear_layer_to_a_block_and_the_answers(body):
    waveform = recording(9, body)
    with torch.inference_mode():
        wanted = body(waveform)
    merged = copy.deepcopy(body)
    merged.merge()
    merged.merge()  # once is enough
    assert not any(isinstance(part, nn.BatchNorm1d) for part in merged.modules())
    assert merged.shapes() == body.shapes()
    with torch.inference_mode():
        torch.testing.assert_close(merged(waveform), wanted, rtol=0, atol=1e-12)


def test_the_defaults_are_of_the_size_and_reach_that_the_recipe_tells():
    body = CausalTcn(CausalTcnConfig())
    assert sum(parameter.numel() for parameter in body.parameters()) == 183_344
    assert body.window_samples == 21_120  # 1.32 s
    assert body.hop_samples == 640


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 0}, "patch_frames and channels must be 1 or more"),
        ({"kernel": 1}, r"kernel 2 or more, got \(4, 96, 1\)"),
        ({"dilations": ()}, "dilations must be one or more numbers from 1 on, got"),
        ({"dilations": [1, 0]}, r"from 1 on, got \(1, 0\)"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"front_end": "librosa-logmel"}, "front_end must give frames of their own samples alone"),
        ({"front_end": "kaldi-mfcc"}, "front_end must give frames of their own samples alone"),
    ],
)
def test_sizes_that_no_stream_can_have_are_refused(values, message):
    with pytest.raises(Exception, match=message):
        check(values, CausalTcnConfig, "a recipe")
