"""Programs that say things, a file for each; what they share is `Talker`."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from train.data.voices import Word

Waveform = NDArray[np.float32]
Said = str | tuple[Word, ...]
"""A text, or the sounds of one by their names in the voice's accent."""


class Talker(Protocol):
    """Many voices, each of one partition, so that those of a test are heard for the first time."""

    def voices(self, partition: str) -> list[str]:
        """Names of the voices of `train`, `valid` or `test`, maybe none; the same in every run."""
        ...

    def accent_of(self, voice: str) -> str:
        """The accent of espeak-ng whose sounds the voice says."""
        ...

    def say(self, said: Said, voice: str, rng: np.random.Generator) -> Waveform:
        """Say something, each time at another rate and otherwise.

        Returns:
            float32 (samples,) at 16 kHz with a peak of 1, without the silence around it.

        Raises:
            DataError: an unknown voice, or nothing is heard.
        """
        ...
