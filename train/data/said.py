"""What phones a recording is to hold: told by its corpus, or by a lexicon from its text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import DataError
from ..nearest import nearest
from .arpabet import PHONES, bare
from .cuts import SILENCE, UNKNOWN, label_of
from .lexicon import Lexicon

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut

KEY = "phones"
"""Of a supervision's `custom`: phones as text, blanks between them."""


def with_phones(cut: MonoCut, phones: Iterable[str]) -> MonoCut:
    """The cut, its supervision told which phones are said.

    Raises:
        DataError: one that `PHONES` has not.
    """
    symbols = [bare(phone) for phone in phones]
    for symbol in symbols:
        if symbol not in PHONES:
            raise DataError(
                f"{cut.id} has a phone {symbol!r} that ARPAbet lacks: {nearest(symbol, PHONES)}"
            )
    supervision = cut.supervisions[0]
    supervision.custom = {**(supervision.custom or {}), KEY: " ".join(symbols)}
    return cut


def phones_said(cuts: CutSet) -> dict[str, tuple[str, ...]]:
    """The phones of each cut by its id, in the order in which they are said; of silence none.

    Cuts whose words nobody knows, without a text or labelled as unknown, are left out.

    Raises:
        DataError: a text that no lexicon says, or a lexicon that is not installed.
    """
    found: dict[str, tuple[str, ...]] = {}
    lexicon: Lexicon | None = None
    for cut in cuts:
        text = label_of(cut)
        told = (cut.supervisions[0].custom or {}).get(KEY) if cut.supervisions else None
        if told is not None:
            found[cut.id] = tuple(told.split())
        elif text == SILENCE:
            found[cut.id] = ()
        elif text and text != UNKNOWN:
            lexicon = lexicon or Lexicon()
            found[cut.id] = lexicon.phones(text)
    return found
