"""What annotators heard in the place of each phone that should have been said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lhotse import MonoCut

CANONICAL = "canonical"
PERCEIVED = "perceived"
"""Of a supervision's `custom`: as many phones in both, as text, with blanks between them."""
_GAP = "-"
"""No phone: one that was left out, or a place where one was put in."""


def with_pairs(cut: MonoCut, pairs: Iterable[tuple[str | None, str | None]]) -> MonoCut:
    """The cut, its supervision told what is perceived for each canonical phone; None is a gap."""
    canonical, perceived = [], []
    for phone, said in pairs:
        canonical.append(phone or _GAP)
        perceived.append(said or _GAP)
    supervision = cut.supervisions[0]
    supervision.custom = {
        **(supervision.custom or {}),
        CANONICAL: " ".join(canonical),
        PERCEIVED: " ".join(perceived),
    }
    return cut


def pairs_of(cut: MonoCut) -> list[tuple[str | None, str | None]] | None:
    """Canonical and perceived phones, place by place; None where nobody annotated the cut."""
    told = (cut.supervisions[0].custom or {}) if cut.supervisions else {}
    if CANONICAL not in told or PERCEIVED not in told:
        return None
    canonical, perceived = (
        [None if phone == _GAP else phone for phone in told[key].split()]
        for key in (CANONICAL, PERCEIVED)
    )
    return list(zip(canonical, perceived, strict=True))
