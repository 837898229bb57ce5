"""Experts' scores of pronunciation, as speechocean762 publishes them in its scores.json.

Source: J. Zhang et al., arXiv:2104.01378. Five experts each; a phone's score is their mean, those
of words and sentences are their medians.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ..errors import DataError
from ..nearest import nearest
from .arpabet import PHONES, bare

MOST_OF_PHONE = 2.0
"""2 is right, 1 right with a heavy accent, 0 wrong or left out."""
MOST = 10.0
"""Best score of a word or a sentence."""

_PLACES = (
    "scores.json",
    "resource/scores.json",
    "resource/scores_rebuilt.json.gz",  # made anew from each expert's opinion, same structure
)
_CONFIG = ConfigDict(extra="ignore", populate_by_name=True)
"""Packed again, the file may tell more, such as every expert's scores."""


def _bare_phones(told: object) -> object:
    """Phones as `PHONES` has them, of a list or of text with blanks between them."""
    if isinstance(told, str):
        told = told.split()
    return tuple(bare(str(phone)) for phone in told) if isinstance(told, list | tuple) else told


Score = Annotated[float, Field(ge=0.0, le=MOST, strict=True)]
PhoneScore = Annotated[float, Field(ge=0.0, le=MOST_OF_PHONE, strict=True)]


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class WordScores:
    """A word's scores in [0, 10]."""

    text: str
    phones: Annotated[tuple[str, ...], BeforeValidator(_bare_phones)]
    """As they should be said, of `PHONES`."""
    phone_scores: Annotated[tuple[PhoneScore | None, ...], Field(alias="phones-accuracy")]
    """Of each phone, in [0, 2]; None where nobody told it."""
    accuracy: Score
    stress: Score
    """10 where it is right or there is but one syllable, else 5."""
    total: Score

    def __post_init__(self) -> None:
        if len(self.phones) != len(self.phone_scores):
            raise ValueError(
                f"{self.text!r} has {len(self.phones)} phones and {len(self.phone_scores)} scores "
                "of phones"
            )
        for phone in self.phones:
            if phone not in PHONES:
                raise ValueError(
                    f"{self.text!r} has a phone {phone!r} that ARPAbet lacks: "
                    f"{nearest(phone, PHONES)}"
                )


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class SentenceScores:
    """A sentence's scores in [0, 10], and those of its words."""

    text: str
    accuracy: Score
    completeness: Score
    """Tenths of the words that are said well."""
    fluency: Score
    prosodic: Score
    total: Score
    words: tuple[WordScores, ...]


def find_scores(root: Path) -> Path:
    """The file of scores in the folder that speechocean762 is unpacked to.

    Raises:
        DataError: there is none.
    """
    for path in _possible(root):
        if path.is_file():
            return path
    raise DataError(
        f"{root} has no scores of experts ({' or '.join(_PLACES[:2])}); name the folder that "
        "speechocean762 is unpacked to"
    )


def has_scores(root: Path) -> bool:
    """Whether `find_scores` finds a file."""
    return any(path.is_file() for path in _possible(root))


def _possible(root: Path) -> list[Path]:
    return [folder / place for folder in (root, root / "speechocean762") for place in _PLACES]


def read_scores(path: Path) -> dict[str, SentenceScores]:
    """Read a scores.json, or one that is packed by gzip.

    Returns:
        scores by utterance, which is the stem of its cut's id.

    Raises:
        DataError: no such file, one that is damaged, or a score that cannot be right.
    """
    sentence = TypeAdapter(SentenceScores)
    found = {}
    for utterance, told in _document(path).items():
        try:
            found[utterance] = sentence.validate_python(told)
        except ValidationError as fault:
            first = fault.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{path}: the scores of {utterance!r} cannot be right ({place}: {first['msg']}); "
                "take the published file"
            ) from None
    return found


def _document(path: Path) -> Mapping[str, Any]:
    try:
        data = path.read_bytes()
        document = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; name a file of scores") from None
    except (EOFError, OSError, zlib.error, ValueError) as fault:
        raise DataError(f"{path} is no file of scores ({fault}); take the published one") from None
    if not isinstance(document, dict):
        raise DataError(f"{path} is no file of scores by utterance; take the published one")
    return document
