"""Divide audio without the keyword: some to train on, some for thresholds, some for a last test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.atomic import replacing_folder
from train.data.corpus import read_corpus
from train.data.cuts import PARTITIONS, hashed_share
from train.data.layouts import cuts as cuts_layout
from train.errors import DataError

if TYPE_CHECKING:
    from lhotse import MonoCut

HELD_OUT = 0.2
"""Of what is no test partition, for thresholds; and of a folder without one, for the test."""
_LONG_S = 60.0
"""Recordings of unknown speakers are divided in pieces of this length."""


@dataclass(frozen=True)
class Divided:
    """Three folders, each a corpus of its own."""

    train: Path
    valid: Path
    """For thresholds."""
    test: Path


def divided(out: Path) -> Divided:
    """Where `divide` puts them."""
    return Divided(*(out / name for name in PARTITIONS))


def divide(folders: Sequence[Path], out: Path) -> None:
    """Write manifests of the recordings of some corpora; the audio stays where it is.

    Test and valid partitions stay what they are. A folder without one gets it from its train
    partition, speaker by speaker; where speakers are unknown, recording by recording or minute by
    minute.

    Args:
        folders: in any layout that training reads.
        out: gets a folder for each partition; appears when it is whole.

    Raises:
        DataError: a folder cannot be read, or is too little to divide.
        OSError: it cannot be written.
    """
    cuts = [cut for number, folder in enumerate(folders) for cut in _of(folder, number)]
    with replacing_folder(out) as made:
        for name in PARTITIONS:
            part = made / name
            part.mkdir()
            # Named as seen from where the folder will be, which is as deep.
            cuts_layout.write([cut for cut in cuts if cut.custom["partition"] == name], part)


def hours_of(folder: Path) -> float:
    """Of all recordings, as headers and manifests state them."""
    return float(sum(cut.duration for cut in read_corpus(folder))) / 3600.0


def _of(folder: Path, number: int) -> list["MonoCut"]:
    cuts = [piece for cut in read_corpus(folder) for piece in _pieces(cut)]
    for wanted in ("test", "valid"):
        if not any(cut.custom["partition"] == wanted for cut in cuts):
            _take_share([cut for cut in cuts if cut.custom["partition"] == "train"], wanted, folder)
    for cut in cuts:
        # Two corpora may have recordings of one name.
        cut.id = f"{number}/{cut.id}"
        for supervision in cut.supervisions:
            supervision.id = cut.id
    return cuts


def _take_share(cuts: list["MonoCut"], wanted: str, folder: Path) -> None:
    """Give `HELD_OUT` of the hours to a partition, in whole units of a hashed order."""
    units: dict[str, list[MonoCut]] = {}
    for cut in cuts:
        units.setdefault(_speaker(cut) or cut.id, []).append(cut)
    if len(units) < 2:
        raise DataError(
            f"{folder} is too little to divide into audio to train on, to set thresholds and to "
            "test: give three speakers or recordings, or some minutes"
        )
    aim_s, taken_s = HELD_OUT * sum(cut.duration for cut in cuts), 0.0
    order = sorted(units, key=hashed_share)
    for name in order[:-1]:
        if taken_s >= aim_s:
            break
        for cut in units[name]:
            cut.custom["partition"] = wanted
            taken_s += cut.duration


def _pieces(cut: "MonoCut") -> list["MonoCut"]:
    if _speaker(cut) or cut.duration < 2.0 * _LONG_S:
        return [cut]
    count = int(cut.duration // _LONG_S)
    pieces = []
    for number in range(count):
        last = number == count - 1
        duration = None if last else _LONG_S
        piece = cut.truncate(offset=number * _LONG_S, duration=duration, preserve_id=True)
        piece.id = f"{cut.id}#{number}"
        piece.custom = dict(cut.custom)  # else one for all pieces
        pieces.append(piece)
    return pieces


def _speaker(cut: "MonoCut") -> str:
    return (cut.supervisions[0].speaker or "") if cut.supervisions else ""
