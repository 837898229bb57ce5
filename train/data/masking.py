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


def block_masks(
    lengths: Sequence[int] | NDArray[np.int64],
    *,
    num_masks: int,
    ratio: float,
    span: int,
    adjust: float,
    rngs: Sequence[np.random.Generator],
) -> NDArray[np.bool_]:
    """Choose blocks of frames, several masks for each row, each hiding exactly its share.

    Of T frames, int(T * (ratio + adjust) / span) blocks are drawn with replacement by their
    centres; then frames are hidden or shown at random until int(T * ratio) are hidden.

    Args:
        lengths: valid frames of each row, padding not counted.
        num_masks: masks of each row, one after the other in the result.
        ratio: share that is hidden, in (0, 1).
        span: frames of a block.
        adjust: what overlaps of blocks cost, as a share.
        rngs: one for each row.

    Returns:
        bool (rows * num_masks, frames), True where hidden. A row of one frame hides none.

    Source: data2vec 2.0, arXiv:2212.07525, section 3.3; its reference code.
    """
    hidden = np.zeros((len(lengths) * num_masks, max(lengths, default=0)), dtype=np.bool_)
    reach = np.arange(span) - span // 2
    for row, (num_frames, rng) in enumerate(zip(map(int, lengths), rngs, strict=True)):
        num_hidden = int(num_frames * ratio)
        num_blocks = int(num_frames * (ratio + adjust) / span)
        for number in range(num_masks):
            mask = hidden[row * num_masks + number, :num_frames]
            centres = rng.integers(0, num_frames, size=num_blocks)
            mask[np.clip(centres[:, None] + reach, 0, num_frames - 1)] = True
            surplus = int(mask.sum()) - num_hidden
            if surplus > 0:
                mask[rng.choice(np.nonzero(mask)[0], surplus, replace=False)] = False
            elif surplus < 0:
                mask[rng.choice(np.nonzero(~mask)[0], -surplus, replace=False)] = True
    return hidden


def random_masks(
    lengths: Sequence[int] | NDArray[np.int64],
    *,
    ratio: float,
    rngs: Sequence[np.random.Generator],
) -> NDArray[np.bool_]:
    """Hide patches of each row at random: all but `num_kept` of them.

    Args:
        lengths: valid patches of each row, padding not counted.
        ratio: share that is hidden, in (0, 1).
        rngs: one for each row.

    Returns:
        bool (rows, patches), True where hidden, as wide as the longest row.

    Source: MAE, arXiv:2111.06377, section 3; DMAE, arXiv:2208.12256.
    """
    hidden = np.zeros((len(lengths), max(lengths, default=0)), dtype=np.bool_)
    for mask, num_patches, rng in zip(hidden, map(int, lengths), rngs, strict=True):
        mask[rng.permutation(num_patches)[num_kept(num_patches, ratio) :]] = True
    return hidden


def num_kept(num_patches: int, ratio: float) -> int:
    """Patches of a row that stay where a share `ratio` in (0, 1) is hidden.

    int(num_patches * (1 - ratio)) as in MAE's code, and at least one. The papers round: at a ratio
    of 0.98, 3 of 196 stay where DMAE writes 4. Differs from the code where binary fractions would
    take a patch: at 0.9, 9 of 100 stay there, 10 here.
    """
    return max(1, int(num_patches * (1.0 - ratio) + 1e-9))
