"""Which heard phone stands for which of the text."""

import numpy as np
import pytest

from runtime.pronunciation.alignment import Place
from runtime.pronunciation.laying import lay
from runtime.pronunciation.phone_columns import FLOOR

NUM_PHONES = 6


def _lay(
    asked: list[int], heard: list[int], nearly: dict[int, int] | None = None
) -> list[tuple[int | None, int | None]]:
    """Pairs, each sound in a frame of its own; `nearly` tells second bests by frame."""
    log_probs = np.full((len(heard), 1 + NUM_PHONES), FLOOR)
    log_probs[np.arange(len(heard)), heard] = 0.0
    for frame, column in (nearly or {}).items():
        log_probs[frame, column] = np.log(0.3)
    places = [Place(column, frame, frame) for frame, column in enumerate(heard)]
    return lay(log_probs, asked, places)


@pytest.mark.parametrize(
    ("asked", "heard", "pairs"),
    [
        ([1, 2, 3], [1, 2, 3], [(0, 0), (1, 1), (2, 2)]),
        ([1, 2, 3], [1, 4, 3], [(0, 0), (1, 1), (2, 2)]),
        ([1, 2, 3], [4, 5, 6], [(0, 0), (1, 1), (2, 2)]),
        ([1, 2, 3], [1, 3], [(0, 0), (1, None), (2, 1)]),
        ([1, 3], [1, 2, 3], [(0, 0), (None, 1), (1, 2)]),
        ([1, 2], [], [(0, None), (1, None)]),
        ([1], [2, 1, 3], [(None, 0), (0, 1), (None, 2)]),
    ],
)
def test_phones_are_laid_at_the_least_cost(
    asked: list[int], heard: list[int], pairs: list[tuple[int | None, int | None]]
) -> None:
    assert _lay(asked, heard) == pairs


def test_where_one_of_two_is_missing_the_likelier_is_kept() -> None:
    assert _lay([1, 2, 3, 4], [1, 5, 4], {1: 2}) == [(0, 0), (1, 1), (2, None), (3, 2)]
    assert _lay([1, 2, 3, 4], [1, 5, 4], {1: 3}) == [(0, 0), (1, None), (2, 1), (3, 2)]


def test_other_speech_around_a_text_does_not_draw_it_apart() -> None:
    # Its first phone is said long before as well, its last long after.
    heard = [1, *[6] * 20, 1, 2, 5, 4, *[6] * 20, 4]
    laid = [pair for pair in _lay([1, 2, 3, 4], heard) if pair[0] is not None]
    assert laid == [(0, 21), (1, 22), (2, 23), (3, 24)]
