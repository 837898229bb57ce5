"""speechocean762: 5,000 English sentences by 250 speakers of Mandarin, with their phones.

Source: J. Zhang et al., arXiv:2104.01378; OpenSLR 101. Its phones are those that should be said:
five experts' opinions of how they were are in files of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DataError
from ..arpabet import bare
from ..cuts import duration_of, label_of, recording_cut
from ..fetch import Archive
from ..layouts import manifest
from ..said import with_phones

if TYPE_CHECKING:
    from lhotse import MonoCut

LICENCE = "CC BY 4.0"
PARTS = {
    "all": Archive(
        url="https://www.openslr.org/resources/101/speechocean762.tar.gz",
        hours=5.6,
        about="520 MB",
    )
}
_PHONES = "resource/text-phone"


def cuts(root: Path) -> Iterable[MonoCut]:
    """Read the published tree, or one that was packed again with a manifest.csv.

    Raises:
        DataError: a file of the corpus is missing, or a sentence without phones.
    """
    if not (root / _PHONES).is_file() and (root / "speechocean762" / _PHONES).is_file():
        root = root / "speechocean762"
    said = _phones(_existing(root / _PHONES))
    read = manifest.read(root) if manifest.recognizes(root) else _published(root)
    return [with_phones(cut, _of(cut, said)) for cut in read]


def _published(root: Path) -> Iterator[MonoCut]:
    for partition in ("train", "test"):
        texts, speakers, places = (
            dict(_pairs(_existing(root / partition / name)))
            for name in ("text", "utt2spk", "wav.scp")
        )
        for utterance, place in places.items():
            path = root / place
            yield recording_cut(
                place,
                path,
                duration_s=duration_of(path),
                partition=partition,
                label=texts.get(utterance, ""),
                speaker=speakers.get(utterance, ""),
            )


def _phones(path: Path) -> dict[str, list[str]]:
    """Of each utterance, word after word: a line is of one word, `UTTERANCE.NUMBER` its name."""
    said: dict[str, list[str]] = {}
    for name, phones in _pairs(path):
        said.setdefault(name.partition(".")[0], []).extend(bare(item) for item in phones.split())
    return said


def _of(cut: MonoCut, said: Mapping[str, list[str]]) -> list[str]:
    utterance = Path(cut.id).stem
    if utterance not in said:
        raise DataError(
            f"{_PHONES} has no phones of {utterance!r} ({label_of(cut)!r}); unpack the corpus anew"
        )
    return said[utterance]


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Lines of Kaldi's tables: a key and the rest."""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, *rest = line.split(maxsplit=1)
        yield key, " ".join(rest)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path} is missing; name the folder that speechocean762 is unpacked to")
    return path
