"""Phones, words and sentences beside the experts' scores of them."""

import pytest

from compress import CompressError
from compress.pronunciation.levels import Judged, levels
from train.data.scores import SentenceScores, WordScores


def word(text, scores, total, **more):
    return WordScores(
        text=text,
        phones=("B",) * len(scores),
        phone_scores=scores,
        total=total,
        **{"accuracy": total, "stress": 10.0} | more,
    )


def sentence(*words, total, **more):
    scores = dict.fromkeys(("accuracy", "completeness", "fluency", "prosodic"), total) | more
    return SentenceScores(text="SOME TEXT", words=words, total=total, **scores)


GOOD = sentence(word("A", (2.0, 2.0), 10.0), word("B", (1.8,), 9.0), total=9.0)
BAD = sentence(word("A", (0.0, None), 2.0), word("B", (0.4,), 3.0, stress=5.0), total=3.0)
AS_GOOD = Judged(phones=[[2.0, 2.0], [1.8]], words=[2.0, 1.8], sentence=1.8)
AS_BAD = Judged(phones=[[None, 2.0], [0.4]], words=[0.4, 0.6], sentence=0.6)


def test_a_checker_that_says_what_experts_do_agrees_on_every_level():
    found = levels([(AS_GOOD, GOOD, "a"), (AS_BAD, BAD, "b")])
    # the phone without a score of experts is left out, the one never said counts as 0
    assert (found.phone.scores, found.word.scores, found.sentence.scores) == (5, 4, 2)
    for level in (found.phone, found.word, found.sentence):
        assert level.correlation.value == pytest.approx(1.0)
        assert level.squared_error.value == pytest.approx(0.0, abs=1e-12)
        assert level.speakers == 2
    assert found.phone.f1_of_wrong.value == 1.0
    assert found.word.f1_of_wrong is found.sentence.f1_of_wrong is None


def test_what_experts_score_is_chosen():
    found = levels([(AS_BAD, BAD, "b")], word="stress")
    assert found.word.squared_error.value == pytest.approx((1.6**2 + 0.4**2) / 2)
    fluent = sentence(*BAD.words, total=3.0, fluency=8.0)
    found = levels([(AS_BAD, fluent, "b")], sentence="fluency")
    assert found.sentence.squared_error.value == pytest.approx(1.0)


@pytest.mark.parametrize(
    "judged",
    [
        Judged(phones=[[2.0, 2.0]], words=[2.0], sentence=2.0),
        Judged(phones=[[2.0], [2.0]], words=[2.0, 2.0], sentence=2.0),
        Judged(phones=[[2.0, 2.0], [2.0]], words=[2.0], sentence=2.0),
    ],
)
def test_other_words_or_phones_than_the_experts_are_refused(judged):
    with pytest.raises(CompressError, match=r"'SOME TEXT' has words of \[2, 1\] phones"):
        levels([(judged, GOOD, "a")])
