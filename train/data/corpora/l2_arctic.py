"""L2-ARCTIC: read English of 24 learners of six languages, a seventh of it annotated by phones.

Source: G. Zhao et al., "L2-ARCTIC: a non-native English speech corpus", INTERSPEECH 2018. Its
publisher asks for a form, so nothing is downloaded. The split is that of arXiv:2203.15937: the
speakers of the test are heard nowhere else, while all of them read the same sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DataError
from ...nearest import nearest
from ..arpabet import PAUSE, PHONES, UNCLEAR
from ..cuts import duration_of, hashed_share, reason_of, recording_cut
from ..fetch import Archive
from ..perceived import with_pairs
from ..said import with_phones, without_phones
from ..textgrids import labels_of

if TYPE_CHECKING:
    from lhotse import MonoCut

LICENCE = "CC BY-NC 4.0"
PARTS: dict[str, Archive] = {}

SPEAKERS = (
    "ABA", "SKA", "YBAA", "ZHAA",  # Arabic
    "BWC", "LXC", "NCC", "TXHC",  # Mandarin
    "ASI", "RRBI", "SVBI", "TNI",  # Hindi
    "HJK", "HKK", "YDCK", "YKWK",  # Korean
    "EBVS", "ERMS", "MBMPS", "NJS",  # Spanish
    "HQTV", "PNV", "THV", "TLV",  # Vietnamese
)  # fmt: skip
TEST_SPEAKERS = ("NJS", "TLV", "TNI", "TXHC", "YKWK", "ZHAA")
"""One of each language."""

_VALID_SHARE = 0.1
"""Of what is annotated of every other speaker."""
_SPOILT = {("YDCK", "arctic_a0209"), ("YDCK", "arctic_a0272")}
"""Annotations that are damaged as published; everybody leaves them out."""
_SILENCES = ("", "SIL", "SP", "SPN", "PAU")
_KINDS = ("s", "d", "a")
"""Substituted, deleted, added."""


def cuts(root: Path) -> Iterable[MonoCut]:
    """Read the speakers' folders, each with wav, transcript and maybe annotation.

    A cut's phones are those perceived, pauses in a row as one. Canonical and perceived phones are
    told place by place beside them. Recordings without annotation have neither: they are for
    training without labels, or of the test's speakers.

    Raises:
        DataError: no speaker's folder, a recording without transcript, or an annotation that cannot
            be read.
    """
    folders = [root / speaker for speaker in SPEAKERS if (root / speaker / "wav").is_dir()]
    if not folders:
        raise DataError(
            f"{root} has no folder of a speaker such as {SPEAKERS[0]}/wav; name the one that "
            "L2-ARCTIC's speakers are unpacked to"
        )
    for folder in folders:
        yield from _speaker(root, folder)


def _speaker(root: Path, folder: Path) -> Iterator[MonoCut]:
    recordings = sorted((folder / "wav").glob("*.wav"))
    annotated = {
        path.stem: grid
        for path in recordings
        if (grid := folder / "annotation" / f"{path.stem}.TextGrid").is_file()
        and (folder.name, path.stem) not in _SPOILT
    }
    by_chance = sorted(annotated, key=lambda name: hashed_share(f"{folder.name}/{name}"))
    valid = set(by_chance[: round(_VALID_SHARE * len(by_chance))])
    for path in recordings:
        if folder.name in TEST_SPEAKERS:
            partition = "test"
        else:
            partition = "valid" if path.stem in valid else "train"
        cut = recording_cut(
            path.relative_to(root).as_posix(),
            path,
            duration_s=duration_of(path),
            partition=partition,
            label=_text(folder / "transcript" / f"{path.stem}.txt"),
            speaker=folder.name,
        )
        if path.stem in annotated:
            yield _annotated(cut, annotated[path.stem])
        else:
            yield without_phones(cut)


def _text(transcript: Path) -> str:
    try:
        return " ".join(transcript.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(
            f"{transcript} cannot be read ({reason_of(fault)}); unpack the speaker's archive anew"
        ) from None


def _annotated(cut: MonoCut, grid: Path) -> MonoCut:
    places = []
    for label in labels_of(grid, "phones"):
        try:
            places.append(_place(label))
        except ValueError as fault:
            raise DataError(f"{grid} has a phone that cannot be read: {fault}") from None
    said: list[str] = []
    for place in places:
        if place != (None, None):
            said += [place[1]] if place[1] else []  # a phone that is left out is no pause
        elif said[-1:] != [PAUSE]:
            said.append(PAUSE)
    return with_pairs(with_phones(cut, said), [place for place in places if place != (None, None)])


def _place(label: str) -> tuple[str | None, str | None]:
    """Canonical and perceived phone of an interval such as "AH0", "T,D,s" or "sil,AH,a".

    A mark that a phone is said oddly ("T,T*,s") is left out, as in the published recipe.

    Raises:
        ValueError: no such phone or tag.
    """
    canonical, *tag = label.split(",")
    if not tag:
        return _phone(canonical), _phone(canonical)
    if len(tag) != 2 or tag[1].strip().lower() not in _KINDS:
        raise ValueError(
            f"{label!r} is neither a phone nor CANONICAL,PERCEIVED,KIND with a kind of "
            f"{', '.join(_KINDS)}"
        )
    return _phone(canonical), _phone(tag[0])


def _phone(told: str) -> str | None:
    """Without stress and marks; None is a pause or a gap."""
    symbol = re.sub("[^A-Z]", "", told.upper())
    if symbol in _SILENCES:
        return None
    if symbol == "AX":
        return "AH"
    if symbol not in (*PHONES, UNCLEAR):
        raise ValueError(f"{told!r} is none of ARPAbet's: {nearest(symbol, PHONES)}")
    return symbol
