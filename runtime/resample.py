"""Change a recording's sample rate: a rational polyphase filter, a Kaiser-windowed sinc."""

import math

import numpy as np

PASSBAND = 0.9
"""Share of the lower rate's Nyquist frequency that passes unchanged; from 1.0 on all is stopped."""
ATTENUATION_DB = 80.0
"""What is left of frequencies beyond the lower Nyquist frequency."""
_MAX_RATIO = 256
_TABLE_LIMIT = 1 << 23
"""Most taps kept over all phases, 32 MiB: enough for every whole rate up to 48 kHz to 16 kHz."""
_BLOCK_LIMIT = 1 << 20
"""Most taps at work at once; memory follows this and not the recording's length."""


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Bring a whole waveform to another rate without shifting it in time.

    The output's sample n lies at the input's time n * from_hz / to_hz; silence surrounds the input.

    Args:
        waveform: float (samples,).
        from_hz: its samples per second.
        to_hz: wanted samples per second, within a factor of 256.

    Returns:
        float32 (ceil(samples * to_hz / from_hz),); within 1e-3 of the input up to 0.9 of the lower
        Nyquist frequency, and 80 dB down beyond it.

    Raises:
        ValueError: a rate below 1 or a ratio over 256, or a waveform of more than one dimension.

    Source: Kaiser's design formulas, Oppenheim and Schafer, Discrete-Time Signal Processing,
    section 7.5 (equations 7.75 and 7.76).
    """
    if waveform.ndim != 1:
        raise ValueError(f"waveform must be (samples,), got {waveform.shape}")
    if min(from_hz, to_hz) < 1 or max(from_hz, to_hz) > _MAX_RATIO * min(from_hz, to_hz):
        raise ValueError(
            f"rates must be positive and within a factor of {_MAX_RATIO}, got {from_hz}, {to_hz}"
        )
    waveform = waveform.astype(np.float32, copy=False)
    if from_hz == to_hz or len(waveform) == 0:
        return waveform.copy()
    divisor = math.gcd(from_hz, to_hz)
    up, down = to_hz // divisor, from_hz // divisor
    num_outputs = -(-len(waveform) * up // down)
    kernel = _Kernel(up, down, num_outputs)
    # Zeros on both sides, so that every output sees as many inputs.
    padded = np.pad(waveform, (kernel.reach, kernel.reach + 1))
    views = np.lib.stride_tricks.sliding_window_view(padded, kernel.num_taps)
    output = np.empty(num_outputs, dtype=np.float32)
    block_samples = max(1, _BLOCK_LIMIT // kernel.num_taps)
    for start in range(0, num_outputs, block_samples):
        positions = np.arange(start, min(start + block_samples, num_outputs), dtype=np.int64) * down
        # (outputs, num_taps) twice: the inputs around each output and their weights
        inputs = views[positions // up]
        output[start : start + len(positions)] = np.einsum(
            "nt,nt->n", inputs, kernel.taps(positions % up)
        )
    return output


class _Kernel:
    """The filter's taps for each phase, the output's place between two inputs in 1/up."""

    def __init__(self, up: int, down: int, num_outputs: int) -> None:
        self._up = up
        # In units of the input's rate; both edges follow the lower of the two rates.
        lower_nyquist = 0.5 * min(1.0, up / down)
        self._cutoff = 0.5 * (1.0 + PASSBAND) * lower_nyquist
        transition = 2.0 * math.pi * (1.0 - PASSBAND) * lower_nyquist
        num_taps = (ATTENUATION_DB - 8.0) / (2.285 * transition)  # 7.76
        self._beta = 0.1102 * (ATTENUATION_DB - 8.7)  # 7.75, above 50 dB
        self.reach = math.ceil(num_taps / 2.0)
        self.num_taps = 2 * self.reach + 2
        self._table: np.ndarray | None = None
        # Odd ratios have as many phases as samples a second: those are made block by block.
        if up <= num_outputs and up * self.num_taps <= _TABLE_LIMIT:
            rows = max(1, _BLOCK_LIMIT // self.num_taps)
            self._table = np.concatenate(
                [self._make(np.arange(i, min(i + rows, up))) for i in range(0, up, rows)]
            )

    def taps(self, phases: np.ndarray) -> np.ndarray:
        """float32 (phases, num_taps)."""
        return self._make(phases) if self._table is None else self._table[phases]

    def _make(self, phases: np.ndarray) -> np.ndarray:
        # Distance from each output to the inputs around it, in input samples.
        distance = np.arange(-self.reach, self.reach + 2)[None, :] - phases[:, None] / self._up
        share = np.clip(1.0 - (distance / (self.reach + 1)) ** 2, 0.0, None)
        window = np.i0(self._beta * np.sqrt(share)) / np.i0(self._beta)
        taps = 2.0 * self._cutoff * np.sinc(2.0 * self._cutoff * distance) * window
        return taps.astype(np.float32)
