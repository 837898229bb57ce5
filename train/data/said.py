"""What phones a recording is to hold: told by its corpus, or by a lexicon from its text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import DataError
from ..nearest import nearest
from .arpabet import PAUSE, PHONES, UNCLEAR, bare
from .cuts import SILENCE, UNKNOWN, label_of
from .lexicon import Lexicon

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut

KEY = "phones"
"""Of a supervision's `custom`: phones as text, blanks between them, or `UNKNOWN`."""
_SOUNDS = (*PHONES, PAUSE, UNCLEAR)


def with_phones(cut: MonoCut, phones: Iterable[str]) -> MonoCut:
    """The cut, its supervision told which phones are said, pauses and unclear sounds among them.

    Raises:
        DataError: one that is none of them.
    """
    symbols = [bare(phone) for phone in phones]
    for symbol in symbols:
        if symbol not in _SOUNDS:
            raise DataError(
                f"{cut.id} has a phone {symbol!r} that ARPAbet lacks: {nearest(symbol, PHONES)}"
            )
    return _told(cut, " ".join(symbols))


def without_phones(cut: MonoCut) -> MonoCut:
    """The cut, its supervision told that nobody knows how its words were said.

    A learner's recording, say, that nobody listened to: a lexicon would only tell how they should
    have been.
    """
    return _told(cut, UNKNOWN)


def _told(cut: MonoCut, phones: str) -> MonoCut:
    supervision = cut.supervisions[0]
    supervision.custom = {**(supervision.custom or {}), KEY: phones}
    return cut


def phones_said(cuts: CutSet) -> dict[str, tuple[str, ...]]:
    """The phones of each cut by its id, in the order in which they are said; of silence none.

    Cuts whose words nobody knows, without a text or labelled as unknown, and those whose phones are
    told to be unknown, are left out.

    Raises:
        DataError: a text that no lexicon says, or a lexicon that is not installed.
    """
    found: dict[str, tuple[str, ...]] = {}
    lexicon: Lexicon | None = None
    for cut in cuts:
        text = label_of(cut)
        told = (cut.supervisions[0].custom or {}).get(KEY) if cut.supervisions else None
        if told == UNKNOWN:
            continue
        if told is not None:
            found[cut.id] = tuple(told.split())
        elif text == SILENCE:
            found[cut.id] = ()
        elif text and text != UNKNOWN:
            lexicon = lexicon or Lexicon()
            found[cut.id] = lexicon.phones(text)
    return found
