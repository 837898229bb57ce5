"""Distances between sounds, and between a phrase and what is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.own_word.articulation import (
    SKIPPED,
    SKIPPED_WEAK,
    distance,
    heard_within,
    is_vowel,
)

SOUNDS = ("p", "t", "d", "k", "m", "s", "ʃ", "tʃ", "ɾ", "ɹ", "l", "h", "j", "w", "i", "iː", "ɪ",
          "eɪ", "ɑː", "ɒ", "ə", "uː", "rʲ", "ɔ̃", "")  # fmt: skip
sound = st.sampled_from(SOUNDS)
sounds = st.lists(sound, min_size=1, max_size=7)


@given(one=sound, other=sound)
def test_a_distance_is_one_of_two_in_the_unit_interval(one, other):
    assert distance(one, other) == distance(other, one)
    assert 0.0 <= distance(one, other) <= 1.0
    assert distance(one, one) == 0.0


@pytest.mark.parametrize(
    ("sound", "near", "far"),
    [
        ("t", "d", "m"),  # voicing, manner and all
        ("t", "ɾ", "k"),  # American "otter"
        ("ɑː", "ɒ", "iː"),
        ("eɪ", "e", "aʊ"),
        ("s", "ʃ", "l"),
        ("tʃ", "ʃ", "m"),
        ("ə", "ɚ", "i"),
    ],
)
def test_what_listeners_confuse_is_near(sound, near, far):
    assert distance(sound, near) < distance(sound, far)


def test_vowels_and_consonants_are_as_far_apart_as_can_be():
    assert distance("i", "p") == 1.0


@given(before=sounds, phrase=sounds, after=sounds)
def test_a_phrase_is_heard_within_whatever_is_said_around_it(before, phrase, after):
    assert heard_within(phrase, [*before, *phrase, *after]) == 0.0


@given(phrase=sounds, said=sounds)
def test_more_that_is_said_brings_a_phrase_no_farther_away(phrase, said):
    assert heard_within(phrase, [*said, "m"]) <= heard_within(phrase, said)
    assert heard_within(phrase, said) <= heard_within(phrase, [])


def test_a_change_costs_what_it_changes():
    phrase = ["h", "eɪ", "ɒ", "t", "ə"]
    assert heard_within(phrase, ["h", "eɪ", "ɒ", "k", "ə"]) == pytest.approx(distance("t", "k"))
    assert heard_within(phrase, ["eɪ", "ɒ", "t", "ə"]) == pytest.approx(SKIPPED_WEAK)
    assert heard_within(phrase, ["h", "eɪ", "m", "ɒ", "t", "ə"]) == pytest.approx(SKIPPED)
    # The cheapest way: "hey" has no sounds in common with nothing at all.
    assert heard_within(phrase, ["ɒ", "t", "ə"]) == pytest.approx(SKIPPED + SKIPPED_WEAK)


def test_syllables_are_carried_by_vowels():
    assert [is_vowel(each) for each in ("eɪ", "ɚ", "ɔːɹ", "t", "j", "")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
