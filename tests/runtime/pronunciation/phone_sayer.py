"""Posteriors of a made-up phone model, in which the truth is known."""

from collections.abc import Sequence

import numpy as np

from runtime.pronunciation.phone_columns import BLANK, NO_PHONE, PAUSE

PHONES = ("AA", "AE", "AH", "B", "D", "EH", "IY", "K", "L", "M", "S", "T", "UH")
LABELS = (BLANK, *PHONES, PAUSE, NO_PHONE)
FRAME_S = 0.04


def posteriors_of(
    said: Sequence[str], *, peak: float = 0.9, seed: int = 0, before: int = 3, after: int = 3
) -> np.ndarray:
    """Log-posteriors (frames, labels) of sounds said one after another.

    Args:
        said: labels; each peaks in one or two frames, with blanks after it.
        peak: probability of what is said; the rest falls on the other labels at random.
        seed: of the rest, and of how many frames each has.
        before: frames of silence in front.
        after: frames of silence behind.
    """
    rng = np.random.default_rng(seed)
    labels = []
    for sound in said:
        labels += [sound] * int(rng.integers(1, 3)) + [BLANK] * int(rng.integers(1, 4))
    rows = []
    for label in labels:
        row = (1 - peak) * rng.dirichlet(np.full(len(LABELS), 0.5))
        row[LABELS.index(label)] += peak
        rows.append(row)
    heard = np.array(rows).reshape(-1, len(LABELS))
    return np.log(np.concatenate([silence(before), heard, silence(after)])).astype(np.float32)


def silence(frames: int) -> np.ndarray:
    """Probabilities (frames, labels) with nothing said."""
    quiet = np.full((frames, len(LABELS)), 0.02 / (len(LABELS) - 1))
    quiet[:, 0] = 0.98
    return quiet
