"""Near misses are near, and none of them is the keyword."""

from collections import Counter

import numpy as np
import pytest

from compress import CompressError
from compress.own_word.articulation import heard_within
from compress.own_word.common_words import COMMON_WORDS
from compress.own_word.near_misses import LEAST_DISTANCE, NearMisses, read_lexicon
from compress.own_word.phrase import Phrase, read_phrase
from compress.own_word.talk import _sentence


def ipa(words):
    return [phone.ipa for word in words for phone in word]


@pytest.fixture(scope="module")
def drawn(mistakes):
    """Two hundred of each accent."""
    return {
        accent: [misses.draw(np.random.default_rng([3, number])) for number in range(200)]
        for accent, misses in mistakes.items()
    }


def test_the_list_has_each_word_once_in_order():
    assert sorted(set(COMMON_WORDS)) == list(COMMON_WORDS)


def test_no_accent_would_take_one_for_the_keyword(drawn, phrase):
    for misses in drawn.values():
        for miss in misses:
            for form in phrase.forms.values():
                assert heard_within(ipa(form), ipa(miss.words)) >= LEAST_DISTANCE, miss.ipa


def test_most_are_near(drawn, mistakes):
    for accent, misses in drawn.items():
        far = [mistakes[accent].distance(miss.words) for miss in misses]
        assert np.median(far) < 1.2  # of five sounds, little more than one is other
        assert max(far) > 1.5  # and some words are just words


def test_every_kind_is_drawn_and_they_differ(drawn):
    for misses in drawn.values():
        kinds = Counter(miss.kind for miss in misses)
        assert set(kinds) == {"sounds", "part", "replaced", "left out", "swapped", "others"}
        assert kinds["sounds"] == max(kinds.values())
        assert len({miss.ipa for miss in misses}) > 100


def test_a_word_of_two_is_kept_where_the_other_is_left_out_or_replaced(drawn, phrase):
    for accent, misses in drawn.items():
        own = phrase.forms[accent]
        for miss in misses:
            if miss.kind == "left out":
                assert miss.words[0] in own
                assert len(miss.words) == 1
            if miss.kind == "replaced":
                assert sum(word in own for word in miss.words) == 1


def test_all_can_be_said(drawn, speaker):
    for accent, misses in drawn.items():
        for miss in misses[:40]:
            assert np.abs(speaker.speak(miss.words, accent)).max() > 0.01, miss.ipa


def test_the_same_seed_draws_the_same(drawn, phrase, speaker):
    again = NearMisses(phrase, "en-us", read_lexicon("en-us", speaker))
    for number, miss in enumerate(drawn["en-us"][:20]):
        assert again.draw(np.random.default_rng([3, number])) == miss


def test_one_word_has_no_other_to_leave_out(speaker):
    phrase = read_phrase("computer", ["en-us"], speaker)
    misses = NearMisses(phrase, "en-us", read_lexicon("en-us", speaker))
    kinds = {misses.draw(np.random.default_rng(number)).kind for number in range(100)}
    assert kinds == {"sounds", "part", "replaced", "others"}


def test_without_english_letters_a_keyword_is_changed_by_its_own_sounds(speaker):
    lexicon = read_lexicon("ru", speaker)
    assert lexicon.words == ()
    phrase = read_phrase("привет", ["ru"], speaker)
    misses = NearMisses(phrase, "ru", lexicon)
    own = {phone.ipa for phone in phrase.forms["ru"][0]}
    for number in range(50):
        miss = misses.draw(np.random.default_rng(number))
        assert miss.kind in ("sounds", "part")
        assert {phone.ipa for word in miss.words for phone in word} <= own


def test_a_keyword_that_has_nothing_near_is_refused():
    lexicon = type("Lexicon", (), {"words": (), "sounds": ()})()
    phrase = Phrase("?", {"en-us": ((),)})
    with pytest.raises(CompressError, match="choose a longer keyword"):
        NearMisses(phrase, "en-us", lexicon).draw(np.random.default_rng(0))


def test_a_sentence_of_near_misses_does_not_add_up_to_the_keyword(mistakes, phrase):
    for number in range(60):
        said = _sentence(mistakes["en-us"], np.random.default_rng(number))
        for form in phrase.forms.values():
            assert heard_within(ipa(form), ipa(said)) >= LEAST_DISTANCE
