"""Goodness of pronunciation of one phone, from CTC posteriors.

The usual definition for models that were trained frame by frame is the mean log posterior of the
phone over its frames, less that of the best phone there (S. Witt and S. Young, "Phone-level
pronunciation scoring and assessment", 2000; W. Hu et al., Speech Communication 67, 2015). A CTC
model puts a phone on one or a few frames, late or early, and a blank on the rest: means over the
frames of an alignment say little there. So paths are compared in place of frames:

    gop(p) = log( P(p)^(1/n) / sum over q of P(q)^(1/n) )
    log_odds(p) = log( P(p) / max over q of P(q) ) / n

where P(q) is the best path with q in the place of the phone, q any phone, an unknown sound or
nothing at all (in `log_odds` all but p), the sounds beside it as they were heard and free to move;
n is the number of frames of the place, so that a long wrong vowel is no worse than a short one.
It follows the comparison of X. Cao et al., "Segmentation-free goodness of pronunciation",
arXiv:2507.16838. We differ in two ways. They sum over paths: a sum grows with each frame of a pause
in which the phone has a millionth of the posterior, a maximum does not. And they hold the text
before and after the phone for said: beside an inserted or a missing sound that lowers the scores of
phones that were right, so mistakes are told by what was heard around them. Their way, with the
maximum, is told too (`Phone.gop_as_read`): it grades phones that a weak model does not hear at all.
"""

from typing import NamedTuple

import numpy as np

from .phone_columns import FLOOR


class Goodness(NamedTuple):
    """How well a place holds a phone, in nats a frame."""

    gop: float
    """In [FLOOR, 0]."""
    log_odds: float
    """Against the best rival, in [FLOOR, -FLOOR]."""
    rival: int
    """Column of that rival, `NOTHING` among them."""


def goodness(scores: np.ndarray, column: int, num_frames: int) -> Goodness:
    """Hold a phone against its rivals.

    Args:
        scores: (1 + phones,), of the best path with each, as `rivals` tells them; minus infinity
            where there is none, not everywhere.
        column: the phone.
        num_frames: of its place, 1 or more.
    """
    # Differences from the best, as an absent path less an absent path is no number.
    below = (scores - scores.max()) / num_frames
    others = below.copy()
    others[column] = -np.inf
    rival = int(others.argmax())
    own = max(float(below[column]), FLOOR)
    return Goodness(
        gop=max(own - float(np.log(np.exp(below).sum())), FLOOR),
        log_odds=min(max(own - float(others[rival]), FLOOR), -FLOOR),
        rival=rival,
    )
