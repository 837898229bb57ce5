"""Which column of a phone model's output is which phone, blanks and pauses in one."""

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
"""Column in which no phone is said."""
FLOOR = float(np.log(1e-6))
"""Least log-probability: one frame of a saturated model, whose softmax may give 0, decides no more
than that."""


@dataclass(frozen=True)
class PhoneColumns:
    """Columns of what `merged` gives; `columns_of` makes them from a model's labels."""

    names: tuple[str, ...]
    """Of the columns; the first is `BLANK`."""
    _blank: int
    _pause: int | None
    _kept: tuple[int, ...]

    def merged(self, log_posteriors: np.ndarray) -> np.ndarray:
        """Put blanks and pauses together.

        A pause is no phone wherever it falls, between words or within one, and parts a repeated
        phone as a blank does; so the two are one column, with their probabilities' sum.

        Args:
            log_posteriors: (frames, labels), natural logarithms of probabilities.

        Returns:
            float32 (frames, 1 + phones), in [FLOOR, 0]; column `NOTHING` first.
        """
        merged = log_posteriors[:, (self._blank, *self._kept)].astype(np.float32)
        if self._pause is not None:
            pauses = log_posteriors[:, self._pause]
            merged[:, NOTHING] = np.logaddexp(log_posteriors[:, self._blank], pauses)
        np.maximum(merged, FLOOR, out=merged)  # a few frames at a time: clip costs twice as much
        return np.minimum(merged, 0.0, out=merged)

    def find(self, phones: Sequence[str], whose: str) -> list[int]:
        """Columns of phones that are asked for.

        Args:
            phones: as `names` has them, without stress.
            whose: for the message, such as "the word 'call'".

        Raises:
            PronunciationFault: no phones, or one that the model does not know.
        """
        if not phones:
            raise PronunciationFault(f"{whose} has no phones: leave it out")
        asked = {name: column for column, name in enumerate(self.names)}
        for phone in phones:
            if phone in (BLANK, NO_PHONE) or phone not in asked:
                known = " ".join(name for name in self.names[1:] if name != NO_PHONE)
                raise PronunciationFault(
                    f"{whose} has a phone {short(phone)} that the model does not know: give its "
                    f"own, without stress ({known})"
                )
        return [asked[phone] for phone in phones]


def columns_of(labels: Sequence[str]) -> PhoneColumns:
    """The columns of a phone model.

    Args:
        labels: of its output, `BLANK` among them; `PAUSE` and `NO_PHONE` may be missing.

    Raises:
        PronunciationFault: labels without a blank or with one name twice.
    """
    names = list(labels)
    if BLANK not in names or len(set(names)) != len(names):
        raise PronunciationFault(
            f"labels of a phone model are all different and hold {BLANK!r}, got {short(labels)}"
        )
    kept = tuple(place for place, name in enumerate(names) if name not in (BLANK, PAUSE))
    return PhoneColumns(
        names=(BLANK, *(names[place] for place in kept)),
        _blank=names.index(BLANK),
        _pause=names.index(PAUSE) if PAUSE in names else None,
        _kept=kept,
    )


def behind(log_probs: np.ndarray) -> np.ndarray:
    """How far every column is from the best of its frame, which the best free path takes.

    Args:
        log_probs: (frames, 1 + phones), finite.

    Returns:
        float64 of that shape, in nats, at most 0: sums along a path are its log-likelihood ratio
        to the best of all paths over the same frames.
    """
    # A difference of float32's own would lose what sums of small ones are made of.
    wide = log_probs.astype(np.float64)
    below: np.ndarray = wide - wide.max(axis=1, keepdims=True)
    return below
