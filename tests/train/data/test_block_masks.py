"""Laws of the block masks, and what the reference measures of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.masking import block_masks
from train.seeding import Draws

BASE = {"ratio": 0.5, "span": 5, "adjust": 0.05}
TABLE = [(99, 49, 3.97), (499, 249, 4.35), (749, 374, 4.45), (999, 499, 4.41)]
"""Frames, hidden frames and mean run of them, measured with the authors' code."""

rows = st.lists(st.integers(1, 200), min_size=1, max_size=4)
laws = {
    "num_masks": st.integers(1, 4),
    "ratio": st.floats(0.01, 0.99),
    "span": st.integers(1, 12),
    "adjust": st.floats(0, 0.2),
    "seed": st.integers(0, 999),
}


def draw(lengths, *, num_masks, seed=0, **settings):
    rngs = Draws(seed, 0).rows(list(range(len(lengths))))
    return block_masks(lengths, num_masks=num_masks, rngs=rngs, **settings)


@given(lengths=rows, **laws)
def test_every_mask_hides_exactly_its_share_of_the_valid_frames(
    lengths, num_masks, ratio, span, adjust, seed
):
    hidden = draw(lengths, num_masks=num_masks, ratio=ratio, span=span, adjust=adjust, seed=seed)
    assert hidden.shape == (len(lengths) * num_masks, max(lengths))
    assert hidden.dtype == np.bool_
    for row, num_frames in enumerate(lengths):
        for mask in hidden[row * num_masks : (row + 1) * num_masks]:
            assert mask[:num_frames].sum() == int(num_frames * ratio) < num_frames
            assert not mask[num_frames:].any()


@given(lengths=rows, **laws)
def test_a_rows_masks_are_its_own_generators_whatever_stands_beside_it(
    lengths, num_masks, ratio, span, adjust, seed
):
    settings = {"num_masks": num_masks, "ratio": ratio, "span": span, "adjust": adjust}
    together = draw(lengths, seed=seed, **settings)
    for row, num_frames in enumerate(lengths):
        alone = block_masks([num_frames], rngs=Draws(seed, 0).rows([row]), **settings)
        mine = together[row * num_masks : (row + 1) * num_masks]
        np.testing.assert_array_equal(mine[:, :num_frames], alone)


@pytest.mark.parametrize(("num_frames", "count", "mean_run"), TABLE)
def test_counts_and_runs_are_the_references(num_frames, count, mean_run):
    masks = draw([num_frames] * 25, num_masks=16, **BASE)
    assert (masks.sum(1) == count).all()
    edges = np.diff(np.pad(masks.astype(int), ((0, 0), (1, 1))), axis=1)
    runs = np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]
    # the table's mean is of a few masks: four deviations of 20 masks' mean, and of its rounding
    per_mask = np.array([count / (np.diff(mask.astype(int)) == 1).sum() for mask in masks])
    assert runs.mean() == pytest.approx(mean_run, abs=4 * per_mask.std() / 20**0.5 + 0.005)
    assert runs.mean() > 3.5  # frames drawn one by one would come in runs of 2


def test_copies_of_a_row_and_rows_alike_have_masks_of_their_own():
    masks = draw([99, 99, 99], num_masks=8, **BASE)
    assert len(np.unique(masks, axis=0)) == 24


def test_every_frame_is_hidden_about_as_often_as_any_other():
    rate = draw([60] * 250, num_masks=8, **BASE).mean(0)
    # 0.5 of 2,000 masks; edges catch the blocks that would reach beyond them
    assert np.abs(rate[5:-5] - rate[5:-5].mean()).max() < 5 * 0.5 / 2_000**0.5
    assert (rate > 0.3).all()
    assert (rate < 0.75).all()


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_the_shortest_rows_keep_a_frame_to_see(num_frames):
    masks = draw([num_frames], num_masks=5, **BASE)
    assert (masks.sum(1) == num_frames // 2).all()


def test_a_wider_block_makes_longer_runs():
    means = []
    for span in (1, 5, 10):
        masks = draw([499] * 10, num_masks=4, ratio=0.5, span=span, adjust=0.05)
        means.append(masks.sum() / (np.diff(masks.astype(int), axis=1) == 1).sum())
    assert means == sorted(means)
    assert means[0] == pytest.approx(2.0, abs=0.1)  # as frames drawn one by one
    assert means[1] > 2 * means[0]
