"""The text of a keyword: what may be one, and how it is said."""

import re
import unicodedata
from dataclasses import dataclass

from train.data.voices import Speaker, Word

from .. import CallError
from .articulation import is_vowel

MOST_CHARACTERS = 60
MOST_SYLLABLES = 10
"""About 2 s of speech, which is as far back as a small model listens."""
LEAST_SYLLABLES = 2
"""Fewer are told apart from other words so badly that a warning is due."""


@dataclass(frozen=True)
class Phrase:
    """A keyword of one or more words."""

    text: str
    """In small letters, words apart by one space; the label of its events."""
    forms: dict[str, tuple[Word, ...]]
    """How it is said, by accent."""

    @property
    def syllables(self) -> int:
        """Of the accent that says the most."""
        return max(_syllables(words) for words in self.forms.values())

    @property
    def notes(self) -> dict[str, str]:
        """What the user should know before waiting for a training."""
        if self.syllables >= LEAST_SYLLABLES:
            return {}
        return {
            "keyword": "one syllable sounds like much else: a threshold that keeps false alarms "
            "away will miss more; three syllables or more, or two words, do better"
        }


def plain_text(text: str) -> str:
    """A keyword's text in small letters, without punctuation; words are one space apart.

    Raises:
        CallError: nothing is left to say, or far too much.
    """
    composed = unicodedata.normalize("NFC", text).replace("’", "'").casefold()
    kept = "".join(letter if _is_said(letter) else " " for letter in composed)
    words = [word.strip("'-") for word in re.split(r"\s+", kept)]
    plain = " ".join(filter(None, words))
    if not any(letter.isalnum() for letter in plain):
        raise CallError(
            f"a keyword is one or more words that can be said, got {text!r}; give a text such as "
            "'hey otter'"
        )
    if len(plain) > MOST_CHARACTERS:
        raise CallError(
            f"a keyword has at most {MOST_CHARACTERS} characters, got {len(plain)}; choose one of "
            "two to five syllables"
        )
    return plain


def read_phrase(text: str, accents: list[str], speaker: Speaker) -> Phrase:
    """Check a text and find out how it is said.

    Args:
        text: as a person types it.
        accents: espeak-ng's voices without variants, one or more.
        speaker: knows how.

    Raises:
        CallError: nothing to say, too much, or letters that these voices only spell.
        DataError: a part is said in another language.
    """
    plain = plain_text(text)
    for word in plain.split():
        # A word in another script is read out by the names of its letters, each a word of its own.
        if len(speaker.phones(word, accents[0])) > 1 and word.isalpha():
            raise CallError(
                f"the voice {accents[0]!r} does not read {word!r} but spells it; write it in the "
                "letters of that language, or choose another by --language"
            )
    phrase = Phrase(plain, {accent: speaker.phones(plain, accent) for accent in accents})
    if phrase.syllables > MOST_SYLLABLES:
        raise CallError(
            f"{plain!r} has {phrase.syllables} syllables, and the model listens back for about "
            f"{MOST_SYLLABLES}; choose a keyword of two to five"
        )
    return phrase


def _is_said(letter: str) -> bool:
    return letter.isalnum() or letter in "'-" or unicodedata.category(letter).startswith("M")


def _syllables(words: tuple[Word, ...]) -> int:
    return sum(is_vowel(phone.ipa) for word in words for phone in word)
