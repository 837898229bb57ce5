"""Check a recording against the text that was to be read: what was said right, and what instead.

The phones that the model hears are laid on those of the text. Each then has a place: where it was
heard, where another sound was heard for it, or, where none was, its best place in the gap. There it
is held against all else that may have been said (`goodness`), and that comparison alone decides: a
phone is wrong where its rival is clearly likelier.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..faults import PronunciationFault, short
from .alignment import Place, align, fewest_frames
from .fit import fits
from .goodness import goodness
from .judgement import Phone, Sentence, Status, sentence_of, word_of
from .phone_columns import FLOOR, NOTHING
from .phone_posteriors import PhonePosteriors, prepared
from .rivals import rivals
from .spots import Spot, find_spots

MARGIN = math.log(3)
"""A mistake is told where it is three times as likely as none: of what learners read most is right,
and to be told of a mistake that one did not make is worse than not to be told."""
_REACH_S = 0.5
"""Around a phone's place: of a second, how far CTC may move a phone, and far less than a pause."""


def check(
    posteriors: np.ndarray,
    labels: Sequence[str],
    words: Sequence[tuple[str, Sequence[str]]],
    frame_s: float,
    *,
    margin: float = MARGIN,
) -> Sentence:
    """Judge each phone of a text by what was said.

    Args:
        posteriors: (frames, labels), log-probabilities of a CTC phone model.
        labels: names of the columns: "_blank_", phones, and "SIL" and "ERR" where the model has
            them.
        words: each word's text, and its phones under the labels' names.
        frame_s: seconds from one frame to the next.
        margin: nats by which a mistake must be likelier than none to be told, 0 or more.

    Raises:
        PronunciationFault: no words, a word without phones or with unknown ones, or an array that
            is no log-posteriors of these labels.
    """
    if not (math.isfinite(frame_s) and frame_s > 0):
        raise PronunciationFault(f"seconds a frame must be positive, got {short(frame_s)}")
    if not (math.isfinite(margin) and margin >= 0):
        raise PronunciationFault(f"the margin must be 0 nats or more, got {short(margin)}")
    ready = prepared(posteriors, labels)
    asked = [ready.columns.find(phones, f"the word {short(text)}") for text, phones in words]
    if not asked:
        raise PronunciationFault("there is no word to check: give the text that was read")
    reach = max(1, round(_REACH_S / frame_s))
    columns = [column for word in asked for column in word]
    forced = None
    if fewest_frames(columns) <= len(ready.log_probs):
        forced = align(ready.log_probs, columns)
    as_read = iter(_as_read(ready.log_probs, columns, forced, reach))
    verdicts = []
    for spot in find_spots(ready.log_probs, columns, reach):
        gop_as_read = None if spot.asked is None else next(as_read)
        verdict = _judge(ready.log_probs, spot, reach, margin)
        if verdict:
            verdicts.append(verdict._replace(gop_as_read=gop_as_read))
    phones = _with_times(verdicts, ready, frame_s)
    in_words = _into_words(phones, [number for number, word in enumerate(asked) for _ in word])
    of_words = zip(words, in_words, fits(ready.log_probs, asked, forced, reach), strict=True)
    return sentence_of(
        [word_of(text, told, fit) for (text, _), told, fit in of_words],
        duration_s=len(ready.log_probs) * frame_s,
    )


class _Verdict(NamedTuple):
    """A phone as it is told, in columns and frames."""

    asked: int | None
    status: Status
    heard: int | None
    place: Place | None
    gop: float | None
    log_odds: float
    gop_as_read: float | None = None


def _as_read(
    log_probs: np.ndarray, columns: list[int], forced: list[Place] | None, reach: int
) -> list[float] | list[None]:
    """Goodness of each phone where forced alignment puts it, the text around it held for said."""
    if forced is None:
        return [None] * len(columns)
    around = [None, *forced, None]
    return [
        goodness(
            rivals(log_probs, place, around[number], around[number + 2], reach),
            place.column,
            place.num_frames,
        ).gop
        for number, place in enumerate(forced)
    ]


def _judge(log_probs: np.ndarray, spot: Spot, reach: int, margin: float) -> _Verdict | None:
    """What is told of a spot; None of a sound beside the text that may have been none."""
    asked, place = spot.asked, spot.place
    if place is None:
        return _Verdict(asked, "deleted", None, None, None, FLOOR)
    scores = rivals(log_probs, place, spot.before, spot.after, reach)
    wanted = NOTHING if asked is None else asked
    gop, log_odds, rival = goodness(scores, wanted, place.num_frames)
    is_right = log_odds >= -margin
    if asked is None:
        return None if is_right else _Verdict(None, "inserted", rival, place, None, log_odds)
    if is_right:
        return _Verdict(asked, "correct", asked, place, gop, log_odds)
    if spot.is_heard and rival != NOTHING:
        return _Verdict(asked, "substituted", rival, place, gop, log_odds)
    return _Verdict(asked, "deleted", None, None, None, log_odds)


def _with_times(
    verdicts: Sequence[_Verdict], ready: PhonePosteriors, frame_s: float
) -> list[Phone]:
    """Name what was judged, and give what was not said its share of the gap where it belongs."""
    spans: list[tuple[float, float]] = []
    num_waiting, now = 0, 0
    end_of_all = Place(NOTHING, len(ready.log_probs), len(ready.log_probs) - 1)
    for place in [*(verdict.place for verdict in verdicts), end_of_all]:
        if place is None:
            num_waiting += 1
            continue
        # A phone that was looked for may share frames with the sound before it.
        first = max(place.first, now)
        edges = np.linspace(now, first, num_waiting + 1).tolist()
        spans += [*itertools.pairwise(edges), (first, max(place.last + 1, first))]
        num_waiting, now = 0, max(place.last + 1, first)
    return [
        Phone(
            phone=None if verdict.asked is None else ready.columns.names[verdict.asked],
            status=verdict.status,
            heard=None if verdict.heard is None else ready.columns.names[verdict.heard],
            start_s=first * frame_s,
            end_s=end * frame_s,
            gop=verdict.gop,
            log_odds=verdict.log_odds,
            gop_as_read=verdict.gop_as_read,
        )
        for verdict, (first, end) in zip(verdicts, spans[:-1], strict=True)
    ]


def _into_words(phones: Sequence[Phone], of_words: Sequence[int]) -> list[list[Phone]]:
    """Phones by word; one inserted between two words goes to the nearer, or to the later.

    One that is further from the text's phones than a pause is other speech, and left out.

    Args:
        phones: in time's order.
        of_words: the word of each phone that was asked for, in order.
    """
    words: list[list[Phone]] = [[] for _ in range(of_words[-1] + 1)]
    asked = [phone for phone in phones if phone.phone is not None]
    num_passed = 0
    for phone in phones:
        before, after = max(num_passed - 1, 0), min(num_passed, len(asked) - 1)
        since = phone.start_s - asked[before].end_s if num_passed else math.inf
        until = asked[after].start_s - phone.end_s if num_passed < len(asked) else math.inf
        if phone.phone is not None:
            words[of_words[num_passed]].append(phone)
            num_passed += 1
        elif min(since, until) <= _REACH_S:
            words[of_words[before if since < until else after]].append(phone)
    return words
