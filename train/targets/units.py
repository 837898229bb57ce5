"""Discrete units: one cluster index for each frame of each recording."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.atomic import replacing_file

from ..errors import DataError

IGNORED = -100
"""Stands where a frame has no unit; cross-entropy passes over it."""


@dataclass(frozen=True)
class Units:
    """Cluster indices of a corpus."""

    sequences: Mapping[str, NDArray[np.int16]]
    """For each cut id: (frames,) in [0, num_clusters)."""
    rate_hz: int
    """Units per second: 100 for MFCC, 50 for an encoder's layer."""
    num_clusters: int
    """Size of the code book."""

    def aligned(
        self, cut_ids: list[str], starts: list[int], num_frames: int, *, stride: int, rate: int
    ) -> NDArray[np.int64]:
        """Units under the encoder's frames of cropped waveforms.

        Args:
            cut_ids: one for each row.
            starts: first sample of each row's crop.
            num_frames: encoder frames of a row.
            stride: samples from one encoder frame to the next.
            rate: samples per second.

        Returns:
            (rows, num_frames); `IGNORED` past a recording's last unit.

        Source: specs of fairseq's HuBERT data set: index floor(i * label_rate * stride / rate).
        """
        steps = np.arange(num_frames) * self.rate_hz * stride // rate
        rows = np.full((len(cut_ids), num_frames), IGNORED, dtype=np.int64)
        for row, (cut_id, start) in enumerate(zip(cut_ids, starts, strict=True)):
            sequence = self.sequences[cut_id]
            index = round(start * self.rate_hz / rate) + steps
            known = index < len(sequence)
            rows[row, known] = sequence[index[known]]
        return rows

    def save(self, path: Path) -> None:
        """Write one .npz, whole or not at all."""
        ids = sorted(self.sequences)
        with replacing_file(path) as temporary:
            np.savez_compressed(
                temporary,
                ids=np.array(ids),
                lengths=np.array([len(self.sequences[cut_id]) for cut_id in ids]),
                units=np.concatenate([self.sequences[cut_id] for cut_id in ids]),
                rate_hz=np.array(self.rate_hz),
                num_clusters=np.array(self.num_clusters),
            )

    @classmethod
    def load(cls, path: Path) -> "Units":
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                ends = np.cumsum(stored["lengths"])
                parts = np.split(stored["units"], ends[:-1])
                ids = [str(cut_id) for cut_id in stored["ids"]]
                return cls(
                    dict(zip(ids, parts, strict=True)),
                    int(stored["rate_hz"]),
                    int(stored["num_clusters"]),
                )
        # A damaged zip or npy header surfaces as nearly anything; here all of it means one thing.
        except Exception as fault:
            raise DataError(f"{path} holds no units ({fault}); make them again") from None
