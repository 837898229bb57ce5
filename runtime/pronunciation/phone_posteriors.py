"""What a phone model says of a recording, made ready for paths of phones through it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..faults import PronunciationFault
from .phone_columns import PhoneColumns, columns_of

_SUM_TOLERANCE = 0.01
"""Of a row's probabilities, which 16-bit floats and tables of an exponential keep."""


@dataclass(frozen=True)
class PhonePosteriors:
    """Log-probabilities by frame, blanks and pauses in one column."""

    log_probs: np.ndarray
    """float32 (frames, 1 + phones), in [FLOOR, 0]; column `NOTHING` first."""
    columns: PhoneColumns
    """Which is which."""


def prepared(log_posteriors: np.ndarray, labels: Sequence[str]) -> PhonePosteriors:
    """Check a model's output, and put blanks and pauses together.

    Args:
        log_posteriors: (frames, labels), natural logarithms of each frame's probabilities.
        labels: names of the columns, as `columns_of` takes them.

    Raises:
        PronunciationFault: no frames, another shape than the labels', rows that are no
            probabilities, or labels that `columns_of` refuses.
    """
    columns = columns_of(labels)
    given = np.asarray(log_posteriors)
    if given.ndim != 2 or given.shape[1] != len(labels):
        raise PronunciationFault(
            f"posteriors must have the shape (frames, {len(labels)}), a column for each label, "
            f"got {given.shape}"
        )
    if not len(given):
        raise PronunciationFault("there are no frames to judge: the recording is empty")
    with np.errstate(over="ignore"):
        sums = np.exp(given.astype(np.float32)).sum(axis=1)
    wrong = ~(np.abs(sums - 1) <= _SUM_TOLERANCE)
    if wrong.any():
        frame = int(np.argmax(wrong))
        raise PronunciationFault(
            f"posteriors must be logarithms of probabilities that sum to 1 in each frame, got a "
            f"sum of {sums[frame]:.3g} in frame {frame}: pass log-softmax, not logits"
        )
    return PhonePosteriors(columns.merged(given), columns)
