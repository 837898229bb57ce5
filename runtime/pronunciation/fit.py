"""How well a word as a whole fits what was heard: the text's best path against the best of all."""

from collections.abc import Sequence

import numpy as np

from .alignment import Place
from .phone_columns import NOTHING, behind


def fits(
    log_probs: np.ndarray,
    words: Sequence[Sequence[int]],
    places: Sequence[Place] | None,
    reach: int,
) -> list[float] | list[None]:
    """Hold each word's frames against what the model would rather have heard in them.

    Phones are judged one by one, each with the sounds around it as they were heard; this holds the
    whole text for said. It tells a word that was not said at all from one that was mumbled, where
    single phones of a weak model tell little.

    Args:
        log_probs: (frames, 1 + phones), column `NOTHING` first, finite.
        words: columns of each word's phones.
        places: of all their phones by forced alignment; None where they do not fit.
        reach: frames before and after a word that count for it, up to half of the way to the next.

    Returns:
        Nats a phone, at most 0, of each word; None of all where there are no places.
    """
    if places is None:
        return [None] * len(words)
    path = np.full(len(log_probs), NOTHING)
    for place in places:
        path[place.first : place.last + 1] = place.column
    lost = behind(log_probs)[np.arange(len(path)), path]
    ends = np.cumsum([len(word) for word in words])
    firsts = np.array(
        [places[end - len(word)].first for end, word in zip(ends, words, strict=True)]
    )
    afters = np.array([places[end - 1].last + 1 for end in ends])
    halves = (afters[:-1] + firsts[1:]) // 2
    starts = np.maximum(firsts - reach, np.append(0, halves))
    stops = np.minimum(afters + reach, np.append(halves, len(path)))
    sums = np.append(0.0, lost.cumsum())
    return [
        float(sums[stop] - sums[start]) / len(word)
        for start, stop, word in zip(starts, stops, words, strict=True)
    ]
