"""Cuts as this project makes them: one recording, one label, one partition."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile

from ..errors import DataError

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut

SAMPLE_RATE = 16_000
"""Samples per second of everything past `decode`."""

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
"""Endings that are looked for in folders, in lower case."""

PARTITIONS = ("train", "valid", "test")
"""Values of a cut's `partition`."""

SILENCE = "_silence_"
"""Label of a clip without speech."""

UNKNOWN = "_unknown_"
"""Label of a word that is no keyword."""


def recording_cut(
    cut_id: str,
    path: Path,
    *,
    duration_s: float,
    partition: str,
    label: str = "",
    speaker: str = "",
    window_s: tuple[float, float] | None = None,
) -> MonoCut:
    """Describe a recording, or a window of it, without opening it.

    Args:
        cut_id: the path below the corpus' root; windows add where they start.
        path: the recording.
        duration_s: of the whole recording. Its cut says 16 kHz mono, as `decode` gives it.
        partition: `train`, `valid` or `test`; the cut's `custom["partition"]`.
        label: word or sentence, the supervision's text; empty where nothing is known.
        speaker: empty where nobody is known.
        window_s: start and duration; None: all of it.
    """
    from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment

    start_s, length_s = window_s if window_s is not None else (0.0, duration_s)
    recording = Recording(
        id=str(path),
        sources=[AudioSource(type="file", channels=[0], source=str(path))],
        sampling_rate=SAMPLE_RATE,
        num_samples=round(duration_s * SAMPLE_RATE),
        duration=duration_s,
    )
    supervision = SupervisionSegment(
        id=cut_id,
        recording_id=recording.id,
        start=0.0,
        duration=length_s,
        text=label,
        speaker=speaker or None,
    )
    return MonoCut(
        id=cut_id,
        start=start_s,
        duration=length_s,
        channel=0,
        recording=recording,
        supervisions=[supervision],
        custom={"partition": partition},
    )


def label_of(cut: MonoCut) -> str:
    """The cut's word or sentence; empty where it has none."""
    text = cut.supervisions[0].text if cut.supervisions else None
    return text or ""


def sorted_cuts(cuts: Iterable[MonoCut]) -> CutSet:
    """A set in the order of its ids, the same on every file system."""
    from lhotse import CutSet

    return CutSet.from_cuts(sorted(cuts, key=lambda cut: str(cut.id)))


def duration_of(path: Path) -> float:
    """Seconds of a recording, by its header.

    Raises:
        DataError: the file is not audio, or holds none.
    """
    try:
        header = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as fault:
        raise DataError(not_audio(path, reason_of(fault))) from None
    if header.frames <= 0:
        raise DataError(not_audio(path, "it holds no samples"))
    return float(header.frames / header.samplerate)


def reason_of(fault: Exception) -> str:
    """What the decoder or the system says, without the path that our own line already names."""
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return str(getattr(fault, "error_string", fault))


def not_audio(path: Path, reason: str) -> str:
    """The one line about a recording that cannot be used."""
    reason = " ".join(reason.split()).rstrip(".")
    return f"{path} cannot be decoded ({reason}); replace it or remove it from the corpus"


def audio_files(root: Path) -> list[Path]:
    """Every audio file below `root` in a stable order, hidden ones left out."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )


def hashed_share(key: str) -> float:
    """A number in [0, 1) that belongs to `key`: the same on every machine and in every run."""
    digest = hashlib.sha1(key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
