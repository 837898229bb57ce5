"""Which texts may be a keyword."""

import pytest

from compress import CallError
from compress.own_word.phrase import plain_text, read_phrase
from compress.own_word.talkers.espeak import accents_of
from train.data.synthetic import ACCENTS
from train.errors import DataError


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Hey, Otter!", "hey otter"),
        ("  hey\totter\n", "hey otter"),
        ("it’s  me", "it's me"),
        ("_otter_", "otter"),
        ("OTTER \N{GRINNING FACE}", "otter"),
        ("well-known", "well-known"),
        ("- otter -", "otter"),
        ("Straße 7", "strasse 7"),
    ],
)
def test_a_text_is_brought_into_one_form(text, plain):
    assert plain_text(text) == plain


@pytest.mark.parametrize("text", ["", "   ", "?!", "_", "'", "\N{GRINNING FACE}"])
def test_a_text_without_a_word_is_refused(text):
    with pytest.raises(CallError, match=r"one or more words that can be said.*give a text such as"):
        plain_text(text)


def test_a_text_that_nobody_would_say_is_refused(speaker):
    with pytest.raises(CallError, match="at most 60 characters, got 70"):
        plain_text("x" * 70)
    with pytest.raises(CallError, match=r"16 syllables.*choose a keyword of two to five"):
        read_phrase("a very long sentence that nobody would ever want to say", ["en-us"], speaker)


def test_other_letters_want_another_language(speaker):
    with pytest.raises(
        CallError, match=r"'en-us' does not read 'привет' but spells it.*--language"
    ):
        read_phrase("привет", ["en-us"], speaker)
    assert read_phrase("Привет, выдра", ["ru"], speaker).syllables == 4
    with pytest.raises(DataError, match="a voice of its language"):
        read_phrase("otter", ["ru"], speaker)


def test_letters_that_are_said_as_a_word_and_numbers_are_words(speaker):
    for text in ("xkcd", "42", "nasa"):
        assert read_phrase(text, ["en-us"], speaker).text == text


def test_a_phrase_has_its_form_in_every_accent(phrase):
    assert phrase.text == "hey otter"
    assert [[p.ipa for p in word] for word in phrase.forms["en-gb-scotland"]] == [
        ["h", "eː"], ["ɒ", "t", "ɜ"],
    ]  # fmt: skip
    assert phrase.syllables == 3
    assert phrase.notes == {}


def test_one_syllable_is_allowed_and_told_of(speaker):
    assert "one syllable" in read_phrase("stop", ["en-us"], speaker).notes["keyword"]


def test_a_language_has_its_accents(speaker):
    assert accents_of("en", speaker) == list(ACCENTS)
    assert accents_of("en-us", speaker) == ["en-us", "en-us-nyc"]
    assert {"pt", "pt-br"} <= set(accents_of("pt", speaker))
    with pytest.raises(CallError, match="no language 'pt-brr'; did you mean 'pt-br'"):
        accents_of("pt-brr", speaker)
