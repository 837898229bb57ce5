"""The transform in two stages: equal to numpy's, and cheap where the size has factors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.models.fourier import cheapest


def powers(split, samples):
    """(samples,) to (residues * slots,) by both tables, as a front end multiplies."""
    rows, places = split.tables()
    padded = np.pad(samples, (0, split.num_rows * split.stride - len(samples)))
    parts = padded.reshape(-1, split.stride).T @ rows  # (places, 2 * residues)
    parts = parts.reshape(split.stride, -1, 2).transpose(1, 0, 2).reshape(len(places), 1, -1)
    real, imaginary = np.split((parts @ places)[:, 0] ** 2, 2, axis=1)
    return (real + imaginary).ravel()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), half=st.integers(1, 130), seed=st.integers(0, 999))
def test_powers_are_those_of_numpys_transform(data, half, seed):
    size = 2 * half
    window_samples = data.draw(st.integers(1, size))
    bins = np.array(sorted(data.draw(st.sets(st.integers(0, half), min_size=1))))
    samples = np.random.default_rng(seed).normal(size=window_samples)
    split = cheapest(size, window_samples, bins)
    used = split.bins >= 0
    assert sorted(split.bins[used]) == list(bins)  # each once
    found = powers(split, samples)
    expected = np.abs(np.fft.rfft(samples, size)) ** 2
    np.testing.assert_allclose(found[used], expected[split.bins[used]], rtol=0, atol=1e-9 * size)
    assert not found[~used].any()


@pytest.mark.parametrize("size", [400, 480, 512, 640, 1024])
def test_usual_sizes_take_a_fraction_of_one_product(size):
    split = cheapest(size, min(size, 400), np.arange(size // 2 + 1))
    of_one_product = min(size, 400) * 2 * len(np.arange(size // 2 + 1))
    assert split.macs < of_one_product / 5
    first, second = split.tables()
    assert first.size + second.size < of_one_product / 8


def test_what_is_counted_is_what_the_products_take():
    split = cheapest(512, 400, np.arange(1, 256))
    first, second = split.tables()
    assert split.macs == split.stride * first.size + second.size


@pytest.mark.parametrize("size", [2, 2 * 127])
def test_a_size_with_no_useful_factors_has_a_transform_too(size):
    samples = np.random.default_rng(0).normal(size=size)
    split = cheapest(size, size, np.arange(size // 2 + 1))
    expected = np.abs(np.fft.rfft(samples)) ** 2
    assert (
        np.abs(
            powers(split, samples)[split.bins >= 0] - expected[split.bins[split.bins >= 0]]
        ).max()
        < 1e-9
    )
