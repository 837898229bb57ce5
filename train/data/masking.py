"""Which frames a masked-prediction objective hides."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def span_mask(
    lengths: Sequence[int] | NDArray[np.int64],
    *,
    mask_prob: float,
    span: int,
    min_spans: int,
    rng: np.random.Generator | Sequence[np.random.Generator],
) -> NDArray[np.bool_]:
    """Choose spans of frames in each row of a padded batch.

    A row of T frames gets n = max(min_spans, floor(mask_prob * T / span + u)) spans, u uniform in
    [0, 1), at distinct starts in [0, T - span), the end left out as in the reference: its last
    frame is never hidden, and spans may overlap.

    Differences from fairseq: rows are not thinned to the smallest count of the batch, which
    breaks spans and drags long rows down; it serves a reshape to (batch, hidden, dim) that no
    objective here makes. And where T - span <= n it widens the range of starts only, and raises
    when a row comes out whole; here spans shrink to T - n - 1 frames with it, so that no row is.

    Args:
        lengths: valid frames of each row, padding not counted.
        mask_prob: share of frames covered before overlaps, in [0, 1]; 0.8 hides about 0.57.
        span: frames hidden from each start on; the papers take 10, 200 ms.
        min_spans: spans of even the shortest row; 2 in wav2vec 2.0 and HuBERT, 1 in data2vec.
        rng: the caller's generator, or one for each row; no global seed is read.

    Returns:
        bool (batch, frames), True where hidden, as wide as the longest row. A row of one frame
        has nothing to learn from and stays bare.

    Raises:
        ValueError: a share outside [0, 1], a span below 1 or a negative number of spans.

    Source: wav2vec 2.0, arXiv:2006.11477, section 3.1; fairseq's compute_mask_indices.
    """
    if not 0.0 <= mask_prob <= 1.0:
        raise ValueError(f"mask_prob must lie in [0, 1], got {mask_prob}")
    if span < 1 or min_spans < 0:
        raise ValueError(
            f"span must be 1 or more and min_spans 0 or more, got {span} and {min_spans}"
        )
    frame_mask = np.zeros((len(lengths), max(lengths, default=0)), dtype=np.bool_)
    rngs = [rng] * len(lengths) if isinstance(rng, np.random.Generator) else rng
    for row, (num_frames, own) in enumerate(zip(map(int, lengths), rngs, strict=True)):
        num_spans = max(min_spans, int(mask_prob * num_frames / span + own.random()))
        num_spans = min(num_spans, num_frames - 1)
        if num_spans < 1:
            continue
        width = span if num_frames - span > num_spans else max(1, num_frames - num_spans - 1)
        starts = own.choice(num_frames - width, size=num_spans, replace=False)
        frame_mask[row, (starts[:, None] + np.arange(width)).ravel()] = True
    return frame_mask
