"""What espeak-ng's voices say, in texts and in sounds."""

import numpy as np
import pytest

from train.data.voices import Phone, Speaker
from train.errors import DataError


@pytest.fixture(scope="module")
def speaker():
    return Speaker()


def test_a_text_has_the_sounds_of_the_voices_accent(speaker):
    american = speaker.phones("hey otter", "en-us+f2")
    assert [[phone.ipa for phone in word] for word in american] == [["h", "eɪ"], ["ɑː", "ɾ", "ɚ"]]
    british = speaker.phones("hey otter", "en-gb-x-rp")
    assert [[phone.ipa for phone in word] for word in british] == [["h", "eɪ"], ["ɒ", "t", "ɐ"]]
    assert american[0][1] == Phone("'eI", "eɪ")  # stressed


@pytest.mark.parametrize("voice", ["en-us", "en-gb-scotland+m3"])
def test_sounds_are_said_as_their_text_is(voice):
    # Each by a speaker of its own: a voice's flutter goes on from one text to the next.
    first, second = Speaker(), Speaker()
    sounds = second.phones("hey otter", voice)
    first.phones("hey otter", voice)
    np.testing.assert_array_equal(first.speak("hey otter", voice), second.speak(sounds, voice))


def test_other_sounds_are_said_otherwise():
    hey, otter = Speaker().phones("hey otter", "en-us")
    other = (hey, (Phone("'u:", "uː"), *otter[1:]))
    first, second = Speaker().speak((hey, otter), "en-us"), Speaker().speak(other, "en-us")
    assert first.shape != second.shape or not np.allclose(first, second)


def test_clauses_and_numbers_are_all_there(speaker):
    said = speaker.phones("go, now. 42", "en-us")
    assert ["".join(phone.ipa for phone in word) for word in said] == [
        "ɡoʊ", "naʊ", "fɔːɹɾi", "tuː",
    ]  # fmt: skip


def test_a_palatal_sound_is_one(speaker):
    ((*_, t),) = speaker.phones("привет", "ru")
    assert [phone.ipa for phone in speaker.phones("привет", "ru")[0] if phone.ipa] == [
        "p", "rʲ", "i", "vʲ", "e", "t",
    ]  # fmt: skip
    assert t == Phone("t", "t")


def test_a_word_of_another_language_is_refused(speaker):
    with pytest.raises(DataError, match="'ru' says a part of 'computer' in another language"):
        speaker.phones("computer", "ru")


def test_languages_are_those_of_the_data(speaker):
    assert {"en-us", "de", "pt-br", "ru"} <= set(speaker.languages())
    for name in ("de", "pt-br"):
        assert np.any(speaker.speak("a", name))


def test_an_unknown_voice_is_refused_for_sounds_too(speaker):
    with pytest.raises(DataError, match="no voice 'en-us\\+nobody'"):
        speaker.phones("hey", "en-us+nobody")
