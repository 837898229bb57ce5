"""What a broken driver or a gain set too high gives, as samples that a model takes."""

import logging

import numpy as np

logger = logging.getLogger(__name__)

_FULL_SCALE = 32767 / 32768


class Mender:
    """Mends a microphone's blocks, and counts what it mended.

    A person at a microphone cannot repair a block, and listening must go on, so that what
    `Stream.push` refuses is mended here: samples that are not finite become 0, those beyond
    [-1, 1] are cut. Clipped samples are left as they are: a clipped word is often still heard.
    Each is told in the log when it begins, and again each time that there were twice as many.
    """

    def __init__(self) -> None:
        self.not_finite_samples = 0
        self.clipped_samples = 0
        """At full scale or beyond."""
        self._warn_not_finite_at, self._warn_clipped_at = 1, 1

    def mend(self, block: np.ndarray) -> np.ndarray:
        """The next float32 (samples,), finite and in [-1, 1]; itself where it was."""
        if len(block) == 0 or max(block.max(), -block.min()) < _FULL_SCALE:  # NaN is not less
            return block
        finite = np.isfinite(block)
        self.not_finite_samples += len(block) - int(np.count_nonzero(finite))
        mended = np.clip(np.where(finite, block, np.float32(0.0)), -1.0, 1.0)
        self.clipped_samples += int(np.count_nonzero(np.abs(mended) >= _FULL_SCALE))
        if self.not_finite_samples >= self._warn_not_finite_at:
            self._warn_not_finite_at = 2 * self.not_finite_samples
            logger.warning(
                "the microphone gave NaN or infinity: %d samples so far, heard as silence",
                self.not_finite_samples,
            )
        if self.clipped_samples >= self._warn_clipped_at:
            self._warn_clipped_at = 2 * self.clipped_samples
            logger.warning(
                "the microphone is overdriven: %d samples at full scale so far; lower its gain",
                self.clipped_samples,
            )
        return mended
