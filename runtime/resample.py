"""Change the sample rate of a recording or a stream: a polyphase filter, a Kaiser-windowed sinc."""

import math

import numpy as np

PASSBAND = 0.9
"""Share of the lower rate's Nyquist frequency that passes unchanged; from 1.0 on all is stopped."""
ATTENUATION_DB = 80.0
"""What is left of frequencies beyond the lower Nyquist frequency."""
_MAX_RATIO = 256
_TABLE_LIMIT = 1 << 23
"""Most taps kept over all phases, 32 MiB: enough for every whole rate up to 48 kHz to 16 kHz."""
_FEW_PHASES = 160
"""Up to here each phase is filtered by itself, which spares copies: from 8, 32, 44.1 and 48 kHz."""
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
    resampler = Resampler(from_hz, to_hz, num_samples=len(waveform))
    return np.concatenate([resampler.push(waveform), resampler.flush()])


class Resampler:
    """The same of a waveform that comes in blocks: what all of them give together is `resample`'s.

    A block's last outputs come with a later one, once the filter has seen what is on their other
    side: at most 51 samples of the lower rate, 3 ms at 16 kHz. That much is kept, however long the
    stream.

    Args:
        from_hz: samples per second of the blocks.
        to_hz: wanted samples per second, within a factor of 256.
        num_samples: all that will come, where it is known: a short waveform needs no table.

    Raises:
        ValueError: a rate below 1, or a ratio over 256.
    """

    def __init__(self, from_hz: int, to_hz: int, *, num_samples: int | None = None) -> None:
        if min(from_hz, to_hz) < 1 or max(from_hz, to_hz) > _MAX_RATIO * min(from_hz, to_hz):
            raise ValueError(
                f"rates must be positive and within a factor of {_MAX_RATIO}, got {from_hz}, "
                f"{to_hz}"
            )
        divisor = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // divisor, from_hz // divisor
        self._kernel: _Kernel | None = None  # the same rate needs none
        if from_hz != to_hz:
            num_outputs = math.inf if num_samples is None else self._outputs_of(num_samples)
            self._kernel = _Kernel(self._up, self._down, num_outputs)
        self._inputs: np.ndarray
        self._phase: int
        self._received_samples: int
        self._given_samples: int
        self._begin()

    def push(self, waveform: np.ndarray) -> np.ndarray:
        """Take the next samples, float (samples,), and give the float32 outputs now complete."""
        waveform = waveform.astype(np.float32, copy=False)
        if self._kernel is None:
            return waveform.copy()
        self._received_samples += len(waveform)
        self._inputs = np.concatenate([self._inputs, waveform])
        # Output n lies `phase + n * down` over the first input kept, in 1/up of an input.
        last_start = len(self._inputs) - self._kernel.num_taps
        ready = ((last_start + 1) * self._up - 1 - self._phase) // self._down + 1
        return self._filtered(max(0, ready) if last_start >= 0 else 0)

    def flush(self) -> np.ndarray:
        """End the waveform in silence: give its last outputs, and be as new."""
        if self._kernel is None:
            return np.zeros(0, dtype=np.float32)
        silence = np.zeros(self._kernel.reach + 1, dtype=np.float32)
        self._inputs = np.concatenate([self._inputs, silence])
        left = self._outputs_of(self._received_samples) - self._given_samples
        output = self._filtered(left)
        self._begin()
        return output

    def _begin(self) -> None:
        # Zeros on both sides, so that every output sees as many inputs.
        reach = 0 if self._kernel is None else self._kernel.reach
        self._inputs = np.zeros(reach, dtype=np.float32)
        self._phase = self._received_samples = self._given_samples = 0

    def _outputs_of(self, num_samples: int) -> int:
        return -(-num_samples * self._up // self._down)

    def _filtered(self, num_outputs: int) -> np.ndarray:
        """The next outputs; inputs that no later one sees are dropped."""
        kernel = self._kernel
        output = np.empty(num_outputs, dtype=np.float32)
        if kernel is None or num_outputs == 0:
            return output
        views = np.lib.stride_tricks.sliding_window_view(self._inputs, kernel.num_taps)
        if self._up <= _FEW_PHASES:
            # Outputs of one phase share their weights, so that nothing is gathered.
            for number in range(min(self._up, num_outputs)):
                start, phase = divmod(self._phase + number * self._down, self._up)
                (weights,) = kernel.taps(np.array([phase]))
                of_phase = output[number :: self._up]
                inputs = views[start :: self._down][: len(of_phase)]
                of_phase[:] = np.einsum("nt,t->n", inputs, weights)
        else:
            rows = max(1, _BLOCK_LIMIT // kernel.num_taps)
            for first in range(0, num_outputs, rows):
                numbers = np.arange(first, min(first + rows, num_outputs), dtype=np.int64)
                positions = self._phase + numbers * self._down
                # (outputs, num_taps) twice: the inputs around each output and their weights
                output[first : first + len(positions)] = np.einsum(
                    "nt,nt->n", views[positions // self._up], kernel.taps(positions % self._up)
                )
        passed, self._phase = divmod(self._phase + num_outputs * self._down, self._up)
        self._inputs = self._inputs[passed:].copy()  # a view would keep the whole block
        self._given_samples += num_outputs
        return output


class _Kernel:
    """The filter's taps for each phase, the output's place between two inputs in 1/up."""

    def __init__(self, up: int, down: int, num_outputs: float) -> None:
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
