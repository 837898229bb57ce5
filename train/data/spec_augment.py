"""Stripes of a spectrogram that a model learns to do without."""

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SpecAugmentConfig:
    """Stripes in time and in frequency, each of a width drawn from 0 to the widest.

    Source: SpecAugment, arXiv:1904.08779, without time warping; the Keyword Transformer's are 2 of
    25 frames and 2 of 7 coefficients, arXiv:2104.00769, table 3.
    """

    time_masks: int = 0
    """Stripes of frames; 0: none."""
    max_frames: int = 25
    """Widest of them."""
    feature_masks: int = 0
    """Stripes of features; 0: none."""
    max_features: int = 7
    """Widest of them."""

    def __post_init__(self) -> None:
        if min(self.time_masks, self.feature_masks, self.max_frames, self.max_features) < 0:
            raise ValueError(
                "time_masks, max_frames, feature_masks and max_features must be 0 or more"
            )

    @property
    def masks(self) -> bool:
        """Whether anything is hidden at all."""
        return self.time_masks * self.max_frames + self.feature_masks * self.max_features > 0


def stripes(
    num_frames: int, num_features: int, config: SpecAugmentConfig, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw what is hidden of one spectrogram: bool (frames, features), True where it is."""
    hidden = np.zeros((num_frames, num_features), dtype=np.bool_)
    for _ in range(config.time_masks):
        start, width = _stripe(num_frames, config.max_frames, rng)
        hidden[start : start + width] = True
    for _ in range(config.feature_masks):
        start, width = _stripe(num_features, config.max_features, rng)
        hidden[:, start : start + width] = True
    return hidden


def _stripe(size: int, widest: int, rng: np.random.Generator) -> tuple[int, int]:
    width = int(rng.integers(min(widest, size) + 1))
    return int(rng.integers(size - width + 1)), width
