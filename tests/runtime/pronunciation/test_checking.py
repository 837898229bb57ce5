"""The checker on posteriors whose truth is known."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phone_sayer import FRAME_S, LABELS, PHONES, posteriors_of, silence

from runtime.faults import PronunciationFault
from runtime.pronunciation import check
from runtime.pronunciation.judgement import Sentence, Word

BOOKCASE = ("bookcase", ("B", "UH", "K", "K", "EH", "S"))
CAT = ("cat", ("K", "AE", "T"))
WORDS = [BOOKCASE, CAT]
SAID = [*BOOKCASE[1], *CAT[1]]


def _check(said: Sequence[str], words: Sequence[tuple[str, Sequence[str]]] = WORDS) -> Sentence:
    return check(posteriors_of(said), LABELS, words, FRAME_S)


def _told_of(word: Word) -> bool:
    return any(phone.status != "correct" for phone in word.phones)


def _told(sentence: Sentence) -> list[str]:
    """Mistakes by word: `K>T` substituted, `-K` deleted, `+K` inserted."""
    signs = {"substituted": "{0}>{1}", "deleted": "-{0}", "inserted": "+{1}"}
    return [
        f"{word.text}: {signs[phone.status].format(phone.phone, phone.heard)}"
        for word in sentence.words
        for phone in word.phones
        if phone.status != "correct"
    ]


def _asked_of(sentence: Sentence) -> list[str]:
    return [p.phone for word in sentence.words for p in word.phones if p.phone is not None]


@pytest.mark.parametrize(
    ("said", "mistakes"),
    [
        ("B UH K K EH S K AE T", []),
        ("B UH K SIL K EH S SIL K AE T", []),
        ("B UH SIL K K EH S K AE T", []),
        ("B UH K EH S K AE T", ["bookcase: -K"]),
        ("B UH K K EH S K IY T", ["cat: AE>IY"]),
        ("B UH K K EH S K ERR T", ["cat: AE>ERR"]),
        ("B L UH K K EH S K AE T", ["bookcase: +L"]),
        ("B UH K K EH S K AE T AH", ["cat: +AH"]),
        ("AH B UH K K EH S K AE T", ["bookcase: +AH"]),
        ("B UH K K EH S K AE", ["cat: -T"]),
        ("UH K K EH S K AE T", ["bookcase: -B"]),
        ("D UH K T EH S K AE D", ["bookcase: B>D", "bookcase: K>T", "cat: T>D"]),
        ("B UH K K EH S", ["cat: -K", "cat: -AE", "cat: -T"]),
        ("K AE T", [f"bookcase: -{phone}" for phone in BOOKCASE[1]]),
    ],
)
def test_mistakes_are_told_as_they_were_made(said: str, mistakes: list[str]) -> None:
    sentence = _check(said.split())
    assert sorted(_told(sentence)) == sorted(mistakes)
    assert _asked_of(sentence) == SAID


def test_a_missing_word_has_no_score_and_the_others_keep_theirs() -> None:
    bookcase = posteriors_of(BOOKCASE[1])
    both = check(np.concatenate([bookcase, posteriors_of(CAT[1])]), LABELS, WORDS, FRAME_S)
    one = check(bookcase, LABELS, WORDS, FRAME_S)
    assert one.words[1].gop is None
    assert one.words[1].completeness == 0
    assert all(phone.gop is None for phone in one.words[1].phones)
    assert one.words[0].gop == one.gop
    assert one.words[0].gop == pytest.approx(both.words[0].gop, abs=0.01)
    assert one.completeness == pytest.approx(6 / 9)


def test_silence_has_no_scores_and_all_is_deleted() -> None:
    sentence = check(np.log(silence(50)), LABELS, WORDS, FRAME_S)
    assert sentence.gop is None
    assert sentence.completeness == 0
    assert len(_told(sentence)) == len(SAID)
    # The gap is shared out evenly among what is missing in it.
    assert [word.end_s for word in sentence.words] == pytest.approx([2.0 * 6 / 9, 2.0])


def test_a_text_longer_than_the_recording_is_judged_as_far_as_it_goes() -> None:
    many = [CAT] * 500
    sentence = check(posteriors_of(CAT[1]), LABELS, many, FRAME_S)
    assert sum(word.gop is not None for word in sentence.words) == 1
    assert sentence.completeness == pytest.approx(1 / 500)


def test_a_text_of_500_words_is_found_in_minutes_of_sound() -> None:
    words = [BOOKCASE, CAT] * 250
    said = [phone for _, phones in words for phone in phones]
    said[900:903] = ["S", "IY", "M"]
    posteriors = np.concatenate([np.log(silence(2_000)), posteriors_of(said), np.log(silence(999))])
    sentence = check(posteriors, LABELS, words, FRAME_S)
    told = [number for number, word in enumerate(sentence.words) if _told_of(word)]
    assert told == [200]
    assert sentence.words[0].start_s == pytest.approx(2_003 * FRAME_S)


def test_other_speech_far_from_the_text_is_not_told() -> None:
    chatter = posteriors_of(["AH", "M", "IY", "L"] * 20, after=15)
    alone = posteriors_of(SAID, after=15)
    sentence = check(np.concatenate([chatter, alone, chatter]), LABELS, WORDS, FRAME_S)
    assert _told(sentence) == []
    assert sentence.words[0].start_s == pytest.approx((len(chatter) + 3) * FRAME_S)
    # A text that was never read is not found in pieces all over a long recording.
    other = check(chatter, LABELS, WORDS, FRAME_S)
    assert len(_told(other)) >= len(SAID) - 2


def test_a_word_that_was_not_said_fits_worse_than_any_that_was() -> None:
    right, wrong = _check(SAID), _check([*BOOKCASE[1], "M", "IY", "L"])
    assert [word.fit for word in right.words] == pytest.approx([0, 0], abs=1e-6)
    assert wrong.words[0].fit == pytest.approx(0, abs=1e-6)
    assert wrong.words[1].fit is not None
    assert wrong.words[1].fit < -2
    assert wrong.fit == pytest.approx(wrong.words[1].fit / 2)
    assert check(posteriors_of(CAT[1]), LABELS, [CAT] * 500, FRAME_S).fit is None


def test_every_phone_is_graded_as_read_be_it_said_or_not() -> None:
    right, wrong = _check(SAID), _check([*BOOKCASE[1], "K", "IY"])
    for before, after in zip(right.words[1].phones, wrong.words[1].phones, strict=True):
        assert before.gop_as_read == pytest.approx(before.gop, abs=0.01)
        assert after.gop_as_read is not None
    assert [phone.status for phone in wrong.words[1].phones][1:] != ["correct", "correct"]
    assert all((phone.gop_as_read or 0) < -1 for phone in wrong.words[1].phones[1:])
    (inserted,) = _check([*SAID, "AH"]).words[1].phones[3:]
    assert inserted.gop_as_read is None


def test_sums_are_means_of_what_was_said() -> None:
    sentence = _check(["B", "UH", "K", "EH", "S", "K", "IY", "T"])
    for word in sentence.words:
        told = [phone.gop for phone in word.phones if phone.gop is not None]
        assert word.gop == pytest.approx(np.mean(told))
    assert sentence.gop == pytest.approx(np.mean([word.gop or 0 for word in sentence.words]))


def test_times_follow_each_other_and_lie_where_the_phones_are() -> None:
    log_posteriors = posteriors_of(SAID)
    sentence = check(log_posteriors, LABELS, WORDS, FRAME_S)
    now = 0.0
    for word in sentence.words:
        assert word.start_s == word.phones[0].start_s
        assert word.end_s == word.phones[-1].end_s
        for phone in word.phones:
            assert now <= phone.start_s < phone.end_s <= sentence.duration_s
            now = phone.end_s
            frames = slice(round(phone.start_s / FRAME_S), round(phone.end_s / FRAME_S))
            best = {LABELS[column] for column in log_posteriors[frames].argmax(axis=1)}
            assert best == {phone.phone}


def test_a_wrong_phone_lowers_the_score_in_nearly_all_tokens() -> None:
    rng = np.random.default_rng(7)
    lowered = []
    for seed in range(150):
        # A model that is unsure: half of the posterior lies on what was not said.
        text = [str(phone) for phone in rng.choice(PHONES, size=8)]
        place = int(rng.integers(len(text)))
        others = [phone for phone in PHONES if phone != text[place]]
        wrong = [*text[:place], str(rng.choice(others)), *text[place + 1 :]]
        scores = []
        for said in (text, wrong):
            heard = posteriors_of(said, peak=0.5, seed=seed)
            (word,) = check(heard, LABELS, [("word", text)], FRAME_S).words
            asked = [phone for phone in word.phones if phone.phone is not None]
            gop = asked[place].gop
            scores.append(-np.inf if gop is None else gop)
        lowered.append(scores[1] < scores[0])
    assert np.mean(lowered) >= 0.95


def test_the_score_itself_falls_where_another_phone_was_said() -> None:
    right, wrong = _check(SAID), _check([*SAID[:-2], "IY", "T"])
    said, instead = right.words[1].phones[1], wrong.words[1].phones[1]
    assert (said.status, instead.status) == ("correct", "substituted")
    assert said.gop is not None
    assert instead.gop is not None
    assert instead.gop < -2 < -1 < said.gop
    assert wrong.words[1].gop < right.words[1].gop  # type: ignore[operator]
    assert wrong.words[0].gop == pytest.approx(right.words[0].gop, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(
    said=st.lists(st.sampled_from(PHONES), max_size=12),
    before=st.integers(13, 60),
    after=st.integers(13, 60),
    seed=st.integers(0, 1000),
)
def test_silence_around_a_sentence_changes_no_score(
    said: list[str], before: int, after: int, seed: int
) -> None:
    def judged(before: int, after: int) -> Sentence:
        heard = posteriors_of(said, peak=0.6, seed=seed, before=before, after=after)
        return check(heard, LABELS, WORDS, FRAME_S)

    plain, padded = judged(13, 13), judged(before, after)
    assert _told(padded) == _told(plain)
    scores = [
        [phone.gop for word in sentence.words for phone in word.phones]
        for sentence in (plain, padded)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(st.sampled_from((*PHONES, "SIL", "ERR")), max_size=14),
    text=st.lists(
        st.lists(st.sampled_from(PHONES), min_size=1, max_size=4), min_size=1, max_size=4
    ),
    peak=st.floats(0.0, 0.95),
    seed=st.integers(0, 10**6),
)
def test_whatever_is_said_each_phone_is_told_once_and_in_keeping_with_its_score(
    said: list[str], text: list[list[str]], peak: float, seed: int
) -> None:
    words = [(f"w{number}", phones) for number, phones in enumerate(text)]
    heard = posteriors_of(said, peak=peak, seed=seed, before=0, after=1)
    sentence = check(heard, LABELS, words, FRAME_S, margin=0.5)
    assert [
        [phone.phone for phone in word.phones if phone.phone is not None] for word in sentence.words
    ] == text
    now = 0.0
    for phone in (phone for word in sentence.words for phone in word.phones):
        assert now - 1e-9 <= phone.start_s <= phone.end_s <= sentence.duration_s + 1e-9
        now = phone.end_s
        assert (phone.status == "correct") == (phone.log_odds >= -0.5)
        assert (phone.gop is None) == (phone.status in ("deleted", "inserted"))
        assert phone.gop is None or phone.gop <= 0
        assert (phone.heard is None) == (phone.status == "deleted")
        assert (phone.heard == phone.phone) == (phone.status == "correct")


def test_a_phone_that_a_blank_drowned_is_looked_for() -> None:
    log_posteriors = posteriors_of(SAID)
    frames = np.flatnonzero(log_posteriors.argmax(axis=1) == LABELS.index("AE"))
    drowned = np.full(len(LABELS), 1e-4)
    drowned[[0, LABELS.index("AE")]] = 0.6, 0.4 - 1e-4 * (len(LABELS) - 2)
    log_posteriors[frames] = np.log(drowned)
    word = check(log_posteriors, LABELS, WORDS, FRAME_S).words[1]
    assert [phone.status for phone in word.phones] == ["correct"] * 3
    # Its share beside the blank is 0.4; all other phones take a little of that.
    assert word.phones[1].gop is not None
    assert np.log(0.3) < word.phones[1].gop < np.log(0.4)
    word = check(log_posteriors, LABELS, WORDS, FRAME_S, margin=0).words[1]
    assert [phone.status for phone in word.phones] == ["correct", "deleted", "correct"]


def test_a_model_without_pause_and_error_labels_is_checked_too() -> None:
    log_posteriors = posteriors_of(SAID)[:, :-2].astype(np.float64)
    log_posteriors -= np.log(np.exp(log_posteriors).sum(axis=1, keepdims=True))
    assert _told(check(log_posteriors, LABELS[:-2], WORDS, FRAME_S)) == []


def test_the_result_is_json() -> None:
    sentence = _check(["B", "UH", "K", "EH", "S", "K", "IY", "T", "AH"])
    plain = sentence.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert [word["text"] for word in plain["words"]] == ["bookcase", "cat"]
    assert plain["words"][1]["phones"][1]["heard"] == "IY"
    assert plain["words"][0]["completeness"] == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("words", "frame_s", "margin", "message"),
    [
        ([], 0.04, 1, "no word to check"),
        ([("", ())], 0.04, 1, "the word '' has no phones"),
        ([("cat", ("K", "AE1", "T"))], 0.04, 1, "'AE1' that the model does not know"),
        (WORDS, 0.0, 1, "must be positive, got 0.0"),
        (WORDS, float("nan"), 1, "must be positive, got nan"),
        (WORDS, 0.04, -1, "0 nats or more, got -1"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    words: list[tuple[str, tuple[str, ...]]], frame_s: float, margin: float, message: str
) -> None:
    with pytest.raises(PronunciationFault, match=message):
        check(posteriors_of(SAID), LABELS, words, frame_s, margin=margin)
