"""Keywords as people type them, and how they are said."""

from collections.abc import Sequence

from runtime.phrases.asked import read_keywords
from train.data.lexicon import Lexicon

from .own_word.phrase import plain_text

MOST_WAYS = 16
"""Of saying one keyword: each is scored in every frame, and brings false alarms of its own."""


def pronunciations(typed: Sequence[str]) -> dict[str, list[list[str]]]:
    """What a phone model listens for.

    Args:
        typed: texts of English words, which CMUdict or espeak-ng say; or a text and its phones,
            "snowboy=S N OW B OY". The same text again adds ways to say it.

    Returns:
        text in small letters to its ways in phones.

    Raises:
        CallError: nothing to say in a text, or far too much.
        DataError: a word that is not said in English.
        BundleFault: a text without phones after its "=".
    """
    lexicon = Lexicon()
    found: dict[str, list[list[str]]] = {}
    for each in typed:
        if "=" in each:
            [(text, ways)] = read_keywords([each]).items()
        else:
            text = plain_text(each)
            ways = [list(way) for way in lexicon.ways(text, most=MOST_WAYS)]
        known = found.setdefault(text, [])
        known += [way for way in ways if way not in known]
    return found
