"""Laws of the span mask, for any batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.masking import span_mask

batches = st.lists(st.integers(0, 400), min_size=1, max_size=6)
settings = {
    "mask_prob": st.floats(0, 1),
    "span": st.integers(1, 40),
    "min_spans": st.integers(0, 4),
    "seed": st.integers(0, 999),
}


def draw(lengths, mask_prob, span, min_spans, seed):
    rng = np.random.default_rng(seed)
    return span_mask(lengths, mask_prob=mask_prob, span=span, min_spans=min_spans, rng=rng)


@given(lengths=batches, **settings)
def test_neither_padding_nor_a_rows_last_frame_is_ever_hidden(
    lengths, mask_prob, span, min_spans, seed
):
    frame_mask = draw(lengths, mask_prob, span, min_spans, seed)
    assert frame_mask.shape == (len(lengths), max(lengths))
    for row, num_frames in zip(frame_mask, lengths, strict=True):
        assert not row[max(num_frames - 1, 0) :].any()


@given(lengths=batches, **settings)
def test_a_row_of_two_frames_or_more_has_something_hidden_and_something_seen(
    lengths, mask_prob, span, min_spans, seed
):
    frame_mask = draw(lengths, mask_prob, span, max(min_spans, 1), seed)
    for row, num_frames in zip(frame_mask, lengths, strict=True):
        if num_frames >= 2:
            assert 0 < row[:num_frames].sum() < num_frames


@given(lengths=batches, **settings)
def test_no_more_is_hidden_than_the_spans_can_cover(lengths, mask_prob, span, min_spans, seed):
    frame_mask = draw(lengths, mask_prob, span, min_spans, seed)
    for row, num_frames in zip(frame_mask, lengths, strict=True):
        num_spans = max(min_spans, int(mask_prob * num_frames / span + 1))
        assert row.sum() <= num_spans * span


@given(
    num_frames=st.integers(2, 300),
    num_spans=st.integers(1, 20),
    span=st.integers(1, 40),
    seed=st.integers(0, 999),
)
def test_hidden_runs_are_whole_spans(num_frames, num_spans, span, seed):
    row = draw([num_frames], 0.0, span, num_spans, seed)[0]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(int), [0]))))
    runs = edges[1::2] - edges[::2]
    num_spans = min(num_spans, num_frames - 1)
    whole = span if num_frames - span > num_spans else max(1, num_frames - num_spans - 1)
    assert runs.min() >= whole
    # Distinct starts: n spans of width w, all overlapping by all but one frame, cover w + n - 1.
    assert row.sum() >= whole + num_spans - 1


@given(lengths=batches, **settings)
def test_the_same_generator_gives_the_same_mask(lengths, mask_prob, span, min_spans, seed):
    first = draw(lengths, mask_prob, span, min_spans, seed)
    second = draw(np.array(lengths), mask_prob, span, min_spans, seed)
    np.testing.assert_array_equal(first, second)


def test_nothing_asked_hides_nothing():
    assert not draw([100, 50], 0.0, 10, 0, 0).any()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mask_prob": 1.5}, "mask_prob must lie in"),
        ({"mask_prob": float("nan")}, "mask_prob must lie in"),
        ({"span": 0}, "span must be 1 or more"),
        ({"min_spans": -1}, "min_spans 0 or more"),
    ],
)
def test_impossible_settings_are_refused(changed, said):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=said):
        span_mask([50], **({"mask_prob": 0.8, "span": 10, "min_spans": 2} | changed), rng=rng)
