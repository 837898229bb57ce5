"""A checked sentence in a terminal: words, and under each its phones."""

import os
from typing import TextIO

from ..faults import one_line
from .judgement import Sentence, Status, Word
from .marks import kind_of, mark_of

_CODES: dict[Status, str] = {
    "correct": "32",  # green
    "doubtful": "33",  # yellow
    "substituted": "31",  # red
    "deleted": "31;9",  # red, struck through
    "inserted": "35",  # magenta
}
_BETWEEN_WORDS = 2


def wants_colours(stream: TextIO) -> bool:
    """Whether to colour what goes to a stream: to a terminal that can, and unless the environment
    sets NO_COLOR (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def sentence_text(sentence: Sentence, *, colours: bool, width: int = 80) -> str:
    """Pairs of lines, words above phones, that fit a terminal; `marks` says how phones read.

    Args:
        sentence: what was checked.
        colours: whether to colour the phones by ANSI codes.
        width: columns of the terminal. A word wider than that has lines of its own.
    """
    rows: list[list[Word]] = [[]]
    used = 0
    for word in sentence.words:
        needed = _width(word) + _BETWEEN_WORDS
        if rows[-1] and used + needed - _BETWEEN_WORDS > width:
            rows.append([])
            used = 0
        rows[-1].append(word)
        used += needed
    return "\n\n".join(_row(row, colours) for row in rows)


def _row(words: list[Word], colours: bool) -> str:
    above, below = "", ""
    for word in words:
        cell = _width(word) + _BETWEEN_WORDS
        above += one_line(word.text).ljust(cell)
        marks = [
            f"\x1b[{_CODES[kind_of(phone)]}m{mark_of(phone)}\x1b[0m" if colours else mark_of(phone)
            for phone in word.phones
        ]
        below += " ".join(marks) + " " * (cell - _marks_width(word))
    return f"{above.rstrip()}\n{below.rstrip()}"


def _width(word: Word) -> int:
    return max(len(one_line(word.text)), _marks_width(word))


def _marks_width(word: Word) -> int:
    return len(" ".join(mark_of(phone) for phone in word.phones))
