"""Audio without keywords, to count false alarms in: recordings of any length, read in pieces."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from train.data.corpus import read_corpus
from train.data.cuts import label_of, not_audio, reason_of
from train.data.spoken import holds, spoken_text
from train.errors import DataError

_PIECE_S = 600.0


@dataclass(frozen=True)
class Piece:
    """Up to ten minutes of a recording."""

    path: Path
    start_s: float
    duration_s: float
    speaker: str = ""
    """Empty where nobody is known."""

    def read(self, sample_rate: int) -> NDArray[np.float32]:
        """One channel at a rate, float32 (samples,) in [-1, 1].

        Raises:
            DataError: it cannot be decoded, or holds no samples there.
        """
        try:
            with soundfile.SoundFile(str(self.path)) as file:
                rate_hz = file.samplerate
                file.seek(round(self.start_s * rate_hz))
                channels = file.read(
                    round(self.duration_s * rate_hz), dtype="float32", always_2d=True
                )
        except (soundfile.SoundFileError, OSError) as fault:
            raise DataError(not_audio(self.path, reason_of(fault))) from None
        waveform = channels.mean(axis=1, dtype=np.float32)
        if not len(waveform) or not np.isfinite(waveform).all():
            raise DataError(not_audio(self.path, "it holds no samples, or no finite ones"))
        return resampled(waveform, rate_hz, sample_rate)


@dataclass(frozen=True)
class Negatives:
    """What of a corpus is heard for false alarms."""

    pieces: tuple[Piece, ...]
    partitions: tuple[str, ...]
    """Those that were taken."""
    left_out: int
    """Recordings whose label or sentence holds a keyword."""

    @property
    def hours(self) -> float:
        """As headers and manifests state them."""
        return sum(piece.duration_s for piece in self.pieces) / 3600.0


def read_negatives(root: Path, keywords: Sequence[str], *, testing: bool) -> Negatives:
    """Find the recordings of a corpus that hold no keyword, as far as it says what they hold.

    A recording over ten minutes is heard in pieces of ten minutes, each a new stream.

    Args:
        root: a folder in any layout that training reads; a plain folder has no labels.
        keywords: the bundle's.
        testing: take the test partition, and where there is none, everything; else everything but
            the test partition, and where there is nothing else, that.

    Raises:
        DataError: no such folder, no audio, or no recording without a keyword.
    """
    cuts = list(read_corpus(root))
    wanted = [cut for cut in cuts if (cut.partition == "test") == testing] or cuts
    words = [spoken_text(word) for word in keywords]
    pieces: list[Piece] = []
    left_out = 0
    for cut in wanted:
        text = spoken_text(label_of(cut))
        if any(holds(text, word) for word in words):
            left_out += 1
            continue
        path = Path(str(cut.recording.sources[0].source))
        for offset in np.arange(0.0, cut.duration, _PIECE_S).tolist():
            length_s = min(_PIECE_S, cut.duration - offset)
            speaker = (cut.supervisions[0].speaker if cut.supervisions else None) or ""
            pieces.append(Piece(path, cut.start + offset, length_s, speaker))
    if not pieces:
        raise DataError(
            f"{root}: every one of the {left_out} recordings holds a keyword by its label; give "
            "speech without them, such as read books or broadcasts"
        )
    return Negatives(tuple(pieces), tuple(sorted({str(cut.partition) for cut in wanted})), left_out)


def resampled(waveform: NDArray[np.float32], rate_hz: int, sample_rate: int) -> NDArray[np.float32]:
    """At another rate, by soxr, and within [-1, 1] again."""
    if rate_hz != sample_rate:
        import soxr

        waveform = soxr.resample(waveform, rate_hz, sample_rate)
    return np.clip(waveform, -1.0, 1.0)
