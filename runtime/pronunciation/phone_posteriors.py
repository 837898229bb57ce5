"""What a phone model says of a recording, made ready for paths of phones through it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..faults import PronunciationFault, short

BLANK = "_blank_"
"""CTC's label of no phone."""
PAUSE = "SIL"
"""A pause, where the model tells it apart from a blank."""
NO_PHONE = "ERR"
"""A sound that is no phone of the language: it may be heard, and is never asked for."""
NOTHING = 0
"""Column of `PhonePosteriors.log_probs` in which no phone is said."""
FLOOR = float(np.log(1e-6))
"""Least log-probability: one frame of a saturated model, whose softmax may give 0, decides no more
than that."""

_SUM_TOLERANCE = 0.01
"""Of a row's probabilities, which 16-bit floats and tables of an exponential keep."""


@dataclass(frozen=True)
class PhonePosteriors:
    """Log-probabilities by frame, blanks and pauses in one column."""

    log_probs: np.ndarray
    """float32 (frames, 1 + phones), in [FLOOR, 0]; column `NOTHING` first."""
    names: tuple[str, ...]
    """Of the columns; the first is `BLANK`."""

    def columns_of(self, phones: Sequence[str], text: str) -> list[int]:
        """Columns of a word's phones.

        Args:
            phones: as `names` has them, without stress.
            text: the word, for the message.

        Raises:
            PronunciationFault: no phones, or one that the model does not know.
        """
        if not phones:
            raise PronunciationFault(f"the word {short(text)} has no phones: leave it out")
        asked = {name: column for column, name in enumerate(self.names)}
        for phone in phones:
            if phone in (BLANK, NO_PHONE) or phone not in asked:
                known = " ".join(name for name in self.names[1:] if name != NO_PHONE)
                raise PronunciationFault(
                    f"the word {short(text)} has a phone {short(phone)} that the model does not "
                    f"know: give its own, without stress ({known})"
                )
        return [asked[phone] for phone in phones]


def prepared(log_posteriors: np.ndarray, labels: Sequence[str]) -> PhonePosteriors:
    """Check a model's output, and put blanks and pauses together.

    A pause is no phone wherever it falls, between words or within one, and parts a repeated phone
    as a blank does; so the two are one column, with their probabilities' sum.

    Args:
        log_posteriors: (frames, labels), natural logarithms of each frame's probabilities.
        labels: names of the columns, `BLANK` among them; `PAUSE` and `NO_PHONE` may be missing.

    Raises:
        PronunciationFault: no frames, another shape than the labels', rows that are no
            probabilities, or labels without a blank or with one name twice.
    """
    if BLANK not in labels or len(set(labels)) != len(labels):
        raise PronunciationFault(
            f"labels of a phone model are all different and hold {BLANK!r}, got {short(labels)}"
        )
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
    blank = list(labels).index(BLANK)
    kept = [column for column, name in enumerate(labels) if name not in (BLANK, PAUSE)]
    nothing = given[:, blank]
    if PAUSE in labels:
        nothing = np.logaddexp(nothing, given[:, list(labels).index(PAUSE)])
    log_probs = np.column_stack([nothing, given[:, kept]]).astype(np.float32)
    names = (BLANK, *(labels[column] for column in kept))
    return PhonePosteriors(np.clip(log_probs, FLOOR, 0.0), names)
