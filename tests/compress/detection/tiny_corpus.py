"""A corpus with a manifest, from waveforms."""

import csv
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def write_corpus(
    root: Path, rows: list[tuple[str, str, str, str]], audio: dict[str, np.ndarray]
) -> Path:
    """Rows of path, label, speaker and split; audio by path, at 16 kHz."""
    root.mkdir(parents=True)
    for name, waveform in audio.items():
        soundfile.write(root / name, waveform, RATE)
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label", "speaker", "split"), *rows])
    return root
