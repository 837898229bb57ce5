"""Mask statistics of fairseq's compute_mask_indices, measured with fairseq itself.

The table is `mask_stats` of ../shared/specs/oracles.json and the edges are of
teachers-and-lighthubert.md 0.4; both are copied, since tests also run where the specs are absent.
"""

from math import comb

import numpy as np
import pytest

from train.data.masking import span_mask

NUM_DRAWS = 400
TABLE = [
    # frames, probability, span, fraction, its deviation, mean run, median run
    (499, 0.65, 10, 0.490, 0.026, 14.6, 10),
    (499, 0.80, 10, 0.568, 0.031, 16.3, 13),
    (781, 0.80, 10, 0.566, 0.025, 16.3, 13),
    (99, 0.80, 10, 0.571, 0.070, 15.8, 13),
]


def draws(num_frames: int, mask_prob: float, span: int, num_draws: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lengths = [num_frames] * num_draws
    return span_mask(lengths, mask_prob=mask_prob, span=span, min_spans=2, rng=rng)


def runs(frame_mask: np.ndarray) -> np.ndarray:
    """Lengths of the hidden runs of all rows."""
    bare = np.zeros((len(frame_mask), 1), dtype=int)
    edges = np.diff(np.hstack([bare, frame_mask.astype(int), bare]), axis=1)
    return np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"T{row[0]}-p{row[1]}")
def test_four_hundred_masks_hide_as_much_in_as_long_runs_as_the_reference(row):
    num_frames, mask_prob, span, fraction, deviation, mean_run, median_run = row
    frame_mask = draws(num_frames, mask_prob, span, NUM_DRAWS, seed=0)
    shares = frame_mask.mean(axis=1)
    # Two means of 400 draws differ by deviation * sqrt(2 / 400); four of those, and the table's
    # rounding to 0.001.
    assert shares.mean() == pytest.approx(
        fraction, abs=4 * deviation * (2 / NUM_DRAWS) ** 0.5 + 5e-4
    )
    # A deviation of 400 draws is known to 1 / sqrt(800) = 3.5 %, twice; four of those.
    assert shares.std() == pytest.approx(deviation, rel=0.2)
    lengths = runs(frame_mask)
    spread = 4 * lengths.std() * (2 / len(lengths)) ** 0.5
    assert lengths.mean() == pytest.approx(mean_run, abs=spread + 0.05)
    assert np.median(lengths) == pytest.approx(median_run, abs=1)  # runs are whole frames


def test_each_frame_is_hidden_at_the_rate_of_draws_without_replacement():
    # n of 90 starts are drawn, 6 or 7 with equal odds; k of them would hide the frame.
    num_draws = 20_000
    rate = draws(100, 0.65, 10, num_draws, seed=1).mean(axis=0)
    for frame in range(100):
        k = min(frame, 89) - max(frame - 9, 0) + 1
        bare = sum(comb(90 - k, n) / comb(90, n) for n in (6, 7)) / 2
        deviation = (bare * (1 - bare) / num_draws) ** 0.5
        assert rate[frame] == pytest.approx(1 - bare, abs=5 * deviation)
    assert rate[-1] == 0.0


def test_edges_are_hidden_as_in_the_reference_once_thinned_like_it():
    # The reference's figures are of batches thinned to their smallest count, which we do not do:
    # `rate` above starts with 7.2 %, not 5.6 %. Thinned here in batches of 4 it is the reference's.
    rng = np.random.default_rng(3)
    frame_mask = draws(100, 0.65, 10, 20_000, seed=1)
    for batch in frame_mask.reshape(-1, 4, 100):
        count = batch.sum(axis=1).min()
        for row in batch:
            hidden = np.flatnonzero(row)
            row[rng.choice(hidden, len(hidden) - count, replace=False)] = False
    rate = frame_mask.mean(axis=0)
    tolerance = 0.015  # the reference's own few thousand draws, and whole percents at the end
    np.testing.assert_allclose(rate[:5], [0.056, 0.113, 0.165, 0.214, 0.266], atol=tolerance)
    np.testing.assert_allclose(rate[-5:], [0.21, 0.17, 0.12, 0.06, 0.0], atol=tolerance)
    assert rate[40:60].mean() == pytest.approx(0.47, abs=tolerance)


@pytest.mark.parametrize(("mask_prob", "share"), [(0.65, 0.489), (0.80, 0.566)])
def test_the_interior_is_hidden_at_the_analytic_rate(mask_prob, share):
    # 1 - (1 - p / L)^L, for independent spans; without replacement the rate is a little higher.
    assert 1 - (1 - mask_prob / 10) ** 10 == pytest.approx(share, abs=1e-3)
    interior = draws(2000, mask_prob, 10, 200, seed=2)[:, 20:-20]
    assert interior.mean() == pytest.approx(share, abs=0.015)
