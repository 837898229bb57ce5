"""Scores of phrases: those of an exhaustive search, whatever else is asked."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoken_phones import LABELS, posteriors_of

from runtime.faults import PronunciationFault
from runtime.phrases.scorer import PACE_NATS_S, PhraseScorer
from runtime.pronunciation.phone_columns import FLOOR

FRAME_S = 0.04
PHONES = ("A", "B", "C")
ways = st.lists(st.sampled_from(PHONES), min_size=1, max_size=4)
phrases = st.lists(st.lists(ways, min_size=1, max_size=3), min_size=1, max_size=4)


def _random(frames: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet(np.full(len(LABELS), 0.3), size=frames) + 1e-7)


def _scores(said: list[list[list[str]]], logs: np.ndarray) -> np.ndarray:
    """(frames, phrases)."""
    asked = {str(number): each for number, each in enumerate(said)}
    return np.array(list(PhraseScorer(asked, LABELS, FRAME_S).push(logs)))


def _searched(way: list[str], logs: np.ndarray) -> tuple[float, set[int]]:
    """The best path of all that end in the last frame, by trying each; and where such begin."""
    probabilities = np.exp(logs)
    heard = {name: probabilities[:, LABELS.index(name)] for name in (*PHONES, "ERR")}
    heard["-"] = probabilities[:, 0] + probabilities[:, LABELS.index("SIL")]
    nats = {name: np.maximum(np.log(column), FLOOR) for name, column in heard.items()}
    best = np.max(list(nats.values()), axis=0)
    found, starts = -np.inf, set()
    for start in range(len(logs)):
        for path in itertools.product([*PHONES, "-"], repeat=len(logs) - start):
            said = [name for name, _ in itertools.groupby(path) if name != "-"]
            if said != way or "-" in (path[0], path[-1]):
                continue
            lost = sum(
                nats[name][start + frame] - best[start + frame] - PACE_NATS_S * FRAME_S
                for frame, name in enumerate(path)
            )
            if lost > found + 1e-9:
                starts = set()
            found = max(found, lost)
            if lost > found - 1e-9:
                starts.add(start)
    return found / len(way), starts


@settings(max_examples=40, deadline=None)
@given(way=ways, frames=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_a_score_is_that_of_the_best_of_all_paths(way: list[str], frames: int, seed: int) -> None:
    logs = _random(frames, seed)
    scorer = PhraseScorer({"asked": [way]}, LABELS, FRAME_S)
    for frame, scores in enumerate(scorer.push(logs)):
        mean, starts = _searched(way, logs[: frame + 1])
        assert scores[0] == pytest.approx(np.exp(max(mean, FLOOR)), rel=1e-5)  # float32 in
        if starts:
            assert scorer.start_frame(0) in starts


@settings(max_examples=60, deadline=None)
@given(said=phrases, frames=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_a_score_does_not_depend_on_what_else_is_asked(
    said: list[list[list[str]]], frames: int, seed: int
) -> None:
    logs = _random(frames, seed)
    together = _scores(said, logs)
    assert ((together > 0.0) & (together < 1.0)).all()
    for number, each in enumerate(said):
        alone = [_scores([[way]], logs)[:, 0] for way in each]
        np.testing.assert_array_equal(together[:, number], np.max(alone, axis=0))


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 30), max_size=5), seed=st.integers(0, 10**6))
def test_frames_may_come_in_any_parts(cuts: list[int], seed: int) -> None:
    logs = _random(30, seed)
    asked = {"one": [["A", "B"], ["B"]], "two": [["C", "A", "A"]]}
    scorer = PhraseScorer(asked, LABELS, FRAME_S)
    whole = [(*scores, scorer.start_frame(0)) for scores in scorer.push(logs)]
    scorer.reset()
    parts = np.split(logs, sorted(cuts))
    assert [(*s, scorer.start_frame(0)) for part in parts for s in scorer.push(part)] == whole


@settings(max_examples=30, deadline=None)
@given(before=st.integers(0, 9), left_out=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_frames_that_are_left_out_are_those_of_silence(
    before: int, left_out: int, seed: int
) -> None:
    said = {"one": [["A", "B"], ["B"]], "two": [["C", "A", "A"]]}
    logs = _random(20, seed)
    silence = np.full((left_out, len(LABELS)), -1e9)
    silence[:, 0] = 0.0
    heard, skipping = (PhraseScorer(said, LABELS, FRAME_S) for _ in range(2))
    list(heard.push(np.concatenate([logs[:before], silence])))
    list(skipping.push(logs[:before]))
    skipping.skip(left_out)
    for one, other in zip(heard.push(logs[before:]), skipping.push(logs[before:]), strict=True):
        # In silence a phone still has FLOOR, and a phrase of three one of them.
        likely = np.maximum(one, other) > np.exp(FLOOR / 3)
        np.testing.assert_allclose(one[likely], other[likely], rtol=1e-6)
        assert not likely[0] or heard.start_frame(0) == skipping.start_frame(0)


def test_a_repeated_phone_wants_a_blank_between() -> None:
    told = {
        said: _scores([[["A", "A", "B"]]], np.log(posteriors_of(said, peak=0.98)))[-1, 0]
        for said in ("A - A B", "A SIL A B", "A A B", "A B", "A - A - B")
    }
    pace = PACE_NATS_S * FRAME_S
    assert told["A - A B"] == told["A SIL A B"] == pytest.approx(np.exp(-4 * pace / 3))
    assert told["A - A - B"] == pytest.approx(np.exp(-5 * pace / 3))
    assert max(told["A A B"], told["A B"]) < 0.4


def test_a_pause_costs_as_much_as_it_lasts() -> None:
    pauses = (0, 5, 20)
    said = [f"A {'- ' * pause} B" for pause in (*pauses, 250)]
    ends = [_scores([[["A", "B"]]], np.log(posteriors_of(each)))[-1, 0] for each in said]
    expected = [np.exp(-PACE_NATS_S * FRAME_S * (2 + pause) / 2) for pause in pauses]
    assert ends[:3] == pytest.approx(expected)
    # After ten seconds it is likelier that the first was said unheard, just before the second.
    lost = np.log(0.02 / 0.92) - 2 * PACE_NATS_S * FRAME_S
    assert ends[3] == pytest.approx(np.exp(lost / 2))


def test_a_path_begins_anew_where_that_is_better() -> None:
    scorer = PhraseScorer({"asked": [["A", "B"]]}, LABELS, FRAME_S)
    list(scorer.push(np.log(posteriors_of("A - - C - A - B"))))
    assert scorer.start_frame(0) == 5


def test_an_unknown_phone_is_named() -> None:
    with pytest.raises(PronunciationFault, match="the keyword 'no' has a phone 'N'"):
        PhraseScorer({"no": [["N"]]}, LABELS, FRAME_S)
