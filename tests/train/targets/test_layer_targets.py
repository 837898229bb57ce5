"""Targets from a teacher's layers against numpy in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.targets.layers import layer_mean, spread

CHANNELS, NUM_LAYERS = 5, 4

lengths_of_rows = st.lists(st.integers(2, 40), min_size=1, max_size=4)


def layers_of(lengths, seed, *, offset=0.5, scale=2.0):
    rng = np.random.default_rng(seed)
    shape = (len(lengths), max(lengths), CHANNELS)
    return [
        torch.from_numpy(rng.normal(offset * index, scale, shape)).float()
        for index in range(NUM_LAYERS)
    ]


def padding_of(lengths):
    frames = torch.arange(max(lengths))
    return frames >= torch.tensor(lengths).unsqueeze(1)


def plain(layers, lengths, top_layers, normalize):
    """For each row, the mean of its last layers, (frames, channels)."""
    rows = []
    for row, length in enumerate(lengths):
        chosen = [layer[row, :length].double().numpy() for layer in layers[-top_layers:]]
        if normalize:
            chosen = [(layer - layer.mean(0)) / np.sqrt(layer.var(0) + 1e-5) for layer in chosen]
        rows.append(np.mean(chosen, axis=0))
    return rows


@settings(max_examples=40, deadline=None)
@given(
    lengths=lengths_of_rows,
    top_layers=st.integers(1, NUM_LAYERS),
    normalize=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_target_is_the_mean_of_the_last_layers_whatever_stands_in_the_padding(
    lengths, top_layers, normalize, seed
):
    layers, padding = layers_of(lengths, seed), padding_of(lengths)
    expected = plain(layers, lengths, top_layers, normalize)
    for filling in (0.0, 1e3):
        for layer in layers:
            layer[padding] = filling
        target = layer_mean(layers, padding, top_layers=top_layers, normalize=normalize)
        assert target.dtype == torch.float32
        for row, wanted in zip(target, expected, strict=True):
            np.testing.assert_allclose(row[: len(wanted)], wanted, atol=2e-4)
    if len(set(lengths)) == 1:
        bare = layer_mean(layers, None, top_layers=top_layers, normalize=normalize)
        np.testing.assert_allclose(bare, np.stack(expected), atol=2e-4)


@settings(max_examples=30, deadline=None)
@given(lengths=lengths_of_rows, seed=st.integers(0, 99))
def test_each_channel_has_mean_zero_and_variance_one_over_time(lengths, seed):
    layers = layers_of(lengths, seed)
    for padding in (padding_of(lengths), None):
        target = layer_mean(layers, padding, top_layers=1, normalize=True)
        for row, length in enumerate(lengths):
            frames = target[row, : length if padding is not None else None].double()
            raw = layers[-1][row, : len(frames)].double().var(0, correction=0)
            assert frames.mean(0).abs().max() < 1e-4
            wanted = raw / (raw + 1e-5)
            assert torch.allclose(frames.var(0, correction=0), wanted, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(8, 40), min_size=1, max_size=3),
    scale=st.floats(0.5, 20.0),
    offset=st.floats(-5.0, 5.0),
    layer=st.integers(0, NUM_LAYERS - 1),
    seed=st.integers(0, 99),
)
def test_no_layers_scale_or_offset_enters_a_normalized_target(lengths, scale, offset, layer, seed):
    layers, padding = layers_of(lengths, seed), padding_of(lengths)
    before = layer_mean(layers, padding, top_layers=NUM_LAYERS, normalize=True)
    layers[layer] = layers[layer] * scale + offset
    after = layer_mean(layers, padding, top_layers=NUM_LAYERS, normalize=True)
    valid = ~padding
    assert torch.allclose(before[valid], after[valid], atol=1e-3)
    # without it they do
    layers[layer] = layers[layer] + 1.0
    plain_before = layer_mean(layers, padding, top_layers=NUM_LAYERS, normalize=False)
    layers[layer] = layers[layer] + 1.0
    plain_after = layer_mean(layers, padding, top_layers=NUM_LAYERS, normalize=False)
    assert torch.allclose(plain_after - plain_before, torch.tensor(1 / NUM_LAYERS), atol=1e-4)


def test_earlier_layers_do_not_enter():
    layers = layers_of([20], 0)
    before = layer_mean(layers, None, top_layers=2, normalize=True)
    layers[0], layers[1] = layers[0] * 7, torch.randn(1, 20, CHANNELS)
    assert torch.equal(layer_mean(layers, None, top_layers=2, normalize=True), before)
    assert not torch.equal(layer_mean(layers, None, top_layers=3, normalize=True), before)


def test_a_bfloat16_layer_is_averaged_in_float32():
    layers = [layer.bfloat16() for layer in layers_of([30], 1)]
    target = layer_mean(layers, None, top_layers=NUM_LAYERS, normalize=True)
    expected = plain(layers, [30], NUM_LAYERS, True)[0]
    assert target.dtype == torch.float32
    np.testing.assert_allclose(target[0], expected, atol=2e-5)


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(2, 60), scale=st.floats(0.01, 10), seed=st.integers(0, 99))
def test_spread_is_the_mean_deviation_of_a_channel(frames, scale, seed):
    drawn = np.random.default_rng(seed).normal(3.0, scale, (frames, CHANNELS))
    wanted = np.sqrt(drawn.var(0, ddof=1) + 1e-6).mean()
    assert float(spread(torch.from_numpy(drawn).float())) == pytest.approx(wanted, rel=1e-3)


def test_frames_that_are_all_alike_spread_below_what_a_collapse_is():
    assert float(spread(torch.full((50, CHANNELS), 4.2))) < 0.01


@pytest.mark.parametrize("frames", [0, 1])
def test_fewer_than_two_frames_tell_no_spread(frames):
    assert torch.isnan(spread(torch.ones(frames, CHANNELS)))
