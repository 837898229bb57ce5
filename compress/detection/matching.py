"""Hold events to the words that were said: one event a word, all others are false alarms."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A keyword that was said in a stream."""

    keyword: int
    """Its column in a trace."""
    start_samples: int
    end_samples: int
    """Of the word itself, not of the clip that it came in."""


@dataclass(frozen=True)
class Matched:
    """Which event hit which word."""

    fired_samples: tuple[int | None, ...]
    """For each word the time of its event; None where it was missed."""
    false_alarms: tuple[tuple[int, int], ...]
    """Keyword and time of every event that hit no word."""


def match(
    words: Sequence[Word], events: Sequence[tuple[int, int]], *, tolerance_samples: int
) -> Matched:
    """Give each word at most one event and each event at most one word, as many as there can be.

    An event may hit a word of its own keyword from the word's start to `tolerance_samples` after
    its end. A second event of one word, an event of another keyword and one outside every word are
    false alarms.

    Args:
        words: in any order.
        events: keyword and time in samples, in the order of time.
        tolerance_samples: 0 or more.

    Raises:
        ValueError: a negative tolerance.
    """
    if tolerance_samples < 0:
        raise ValueError(f"tolerance_samples must be 0 or more, got {tolerance_samples}")
    fired: list[int | None] = [None] * len(words)
    waiting = sorted(range(len(words)), key=lambda index: words[index].start_samples, reverse=True)
    open_words: dict[int, list[tuple[int, int]]] = {}
    alarms = []
    for keyword, time in events:
        while waiting and words[waiting[-1]].start_samples <= time:
            index = waiting.pop()
            heapq.heappush(
                open_words.setdefault(words[index].keyword, []), (words[index].end_samples, index)
            )
        # Of the words that it may hit, the one that closes first: no other choice hits more.
        heap = open_words.get(keyword, [])
        while heap and heap[0][0] + tolerance_samples < time:
            heapq.heappop(heap)
        if heap:
            fired[heapq.heappop(heap)[1]] = time
        else:
            alarms.append((keyword, time))
    return Matched(tuple(fired), tuple(alarms))
