"""Attention biases by distance, against the papers' numbers and a plain loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.models.alibi import Alibi, slopes

TWELVE = [
    0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625,
    0.7071067811865476, 0.3535533905932738, 0.1767766952966369, 0.08838834764831845,
]  # fmt: skip
"""Of the reference code."""


def test_twelve_heads_have_the_references_slopes():
    assert slopes(12) == pytest.approx(TWELVE, rel=1e-15)
    assert Alibi(12).slopes.tolist() == pytest.approx(TWELVE, rel=1e-7)


def test_sixteen_heads_are_a_geometric_row_from_its_own_ratio():
    ratio = 2**-0.5
    assert slopes(16) == pytest.approx([ratio ** (head + 1) for head in range(16)])


@given(num_heads=st.integers(1, 64))
def test_each_head_has_a_slope_of_its_own_within_zero_and_one(num_heads):
    row = slopes(num_heads)
    assert len(row) == len(set(row)) == num_heads
    assert all(0.0 < slope < 1.0 for slope in row)


@settings(deadline=None)
@given(
    places=st.lists(st.lists(st.integers(0, 500), min_size=4, max_size=4), min_size=1, max_size=3),
    scales=st.lists(st.floats(-2, 2), min_size=3, max_size=3),
)
def test_a_bias_is_minus_the_distance_times_slope_and_scale_never_above_zero(places, scales):
    alibi = Alibi(3)
    with torch.no_grad():
        alibi.scale.copy_(torch.tensor(scales))
    biases = alibi(torch.tensor(places)).detach()
    assert biases.shape == (len(places), 3, 4, 4)
    wanted = [
        [
            [[-abs(i - j) * slope * max(scale, 0.0) for j in row] for i in row]
            for slope, scale in zip(slopes(3), scales, strict=True)
        ]
        for row in places
    ]
    assert torch.allclose(biases, torch.tensor(wanted), rtol=1e-5)
    assert (biases <= 0).all()
    assert torch.equal(biases, biases.transpose(2, 3))


def test_a_scale_below_zero_counts_as_zero_and_others_are_learned():
    alibi = Alibi(2)
    with torch.no_grad():
        alibi.scale.copy_(torch.tensor([-0.5, 1.5]))
    biases = alibi(torch.arange(6).unsqueeze(0))
    assert (biases[:, 0] == 0).all()
    biases.sum().backward()
    # the sum of all distances of six frames is 70
    assert alibi.scale.grad.tolist() == pytest.approx([0.0, -70 * slopes(2)[1]])


def test_slopes_are_no_weights():
    assert set(Alibi(12).state_dict()) == {"scale"}
    assert Alibi(12).scale.tolist() == [1.0] * 12


def test_distances_keep_what_lies_between_shown_frames(make_encoder):
    # two frames side by side in the batch, far apart in the utterance, hardly see each other
    with torch.no_grad():
        near = Alibi(2)(torch.tensor([[10, 11]]))[0, 0, 0, 1]
        far = Alibi(2)(torch.tensor([[10, 90]]))[0, 0, 0, 1]
    assert float(far) == pytest.approx(80 * float(near))
