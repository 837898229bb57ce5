"""Whether a hop may hold speech, by its energy over an adaptive noise floor: no model is run."""

import math
from collections import deque

import numpy as np

from .manifest import Manifest

FRAME_S = 0.02
"""Length of the pieces whose power is compared: shorter ones fluctuate more in even noise, longer
ones hide a plosive."""
RATIO = 10.0**0.4
"""4 dB: a frame this much over the floor may be speech. In white noise a frame of 20 ms is 0.35 dB
off its mean, and the floor, the least of 150 frames, about 1 dB under it."""
LEAST_POWER = 1e-9
"""-90 dBFS, an error of one step of 16 bits: what is quieter is silence for every floor."""
FLOOR_S = 3.0
"""How far back the floor looks for its least frame: a new steady noise is silence after it."""
PRE_ROLL_S = 0.5
"""What is answered from before the gate opened: the onset of "six" or "four" may be that long and
weaker than the noise. It is also the least time that the gate stays open."""
MAX_KEPT_S = 30.0
"""Most audio kept to start again from; a model that looks back further is never left out."""
LAG_S = 0.00075
"""Power is that of a sample less the one this much before: a microphone's offset is no sound, and
of hum and rumble, which fluctuate, less is left. It is largest at 670 Hz, and 13 dB less at 100 Hz.
"""
_PARTS = 6
"""The floor forgets a part at a time."""


class SpeechGate:
    """Open while frames stand out from the noise floor, and until the model has seen them pass.

    The floor is the least power of the last `FLOOR_S` seconds' frames, so that it falls at once and
    rises late.

    It opens within the hop that stands out. It closes once no frame has stood out for as long as
    the model's window and the decision look back, and no keyword is at its threshold, so that
    what it has cut off could no longer be an event. A stream begins open, as its floor is unknown.

    Args:
        hop_samples: of the stream.
        sample_rate: samples per second.
        hold_hops: hops that it stays open after one that stood out.

    Source: the floor is the minimum of Martin, "Noise power spectral density estimation based on
    optimal smoothing and minimum statistics", IEEE TSAP 9(5), 2001, without smoothing and over the
    whole band: what is wanted here is the CPU of a few products, not a spectrum.
    """

    def __init__(self, hop_samples: int, sample_rate: int, hold_hops: int) -> None:
        num_frames = max(1, round(hop_samples / (FRAME_S * sample_rate)))
        self._frame_samples = hop_samples // num_frames
        lag_samples = max(1, round(LAG_S * sample_rate))
        samples = np.zeros(lag_samples + hop_samples, dtype=np.float32)
        self._hop, self._earlier = samples[lag_samples:], samples[:hop_samples]
        self._carried, self._last = samples[:lag_samples], samples[hop_samples:]
        self._change = np.zeros(hop_samples, dtype=np.float32)
        # The last samples of a hop that frames do not divide, fewer than frames, belong to none.
        self._frames = [
            self._change[start : start + self._frame_samples]
            for start in range(0, num_frames * self._frame_samples, self._frame_samples)
        ]
        self._hold_hops = hold_hops
        self._part_hops = max(1, round(FLOOR_S * sample_rate / hop_samples / _PARTS))
        self.reset()

    @classmethod
    def of(cls, manifest: Manifest) -> "SpeechGate | None":
        """The gate of a bundle's streams; None where more would be kept than `MAX_KEPT_S`."""
        streaming, decision = manifest.streaming, manifest.keyword_decision
        kept_hops = context_hops(manifest) + pre_roll_hops(manifest)
        if kept_hops * streaming.hop_samples > MAX_KEPT_S * manifest.sample_rate:
            return None
        window_hops = math.ceil(streaming.window_samples / streaming.hop_samples)
        hold_hops = max(window_hops, _hops(manifest, PRE_ROLL_S))
        hold_hops += decision.smoothing_windows + decision.patience
        return cls(streaming.hop_samples, manifest.sample_rate, hold_hops)

    def reset(self) -> None:
        """As before the first hop: open, and without a floor."""
        self._hop[:] = 0.0
        self._floor = self._part_floor = math.inf
        self._past_floors: deque[float] = deque(maxlen=_PARTS)
        self._num_hops = 0
        self._is_open, self._left_hops = True, self._hold_hops

    def hears(self, hop: np.ndarray, at_rest: bool) -> bool:
        """Whether the model must see the next hop.

        Args:
            hop: float32 (hop_samples,), read and not kept.
            at_rest: no keyword was at its threshold when the model last answered.
        """
        self._carried[:] = self._last
        self._hop[:] = hop
        np.subtract(self._hop, self._earlier, out=self._change)
        powers = [float(frame.dot(frame)) for frame in self._frames]
        self._lower_floor(min(powers) / self._frame_samples)
        if max(powers) > RATIO * self._frame_samples * max(self._floor, LEAST_POWER):
            self._is_open, self._left_hops = True, self._hold_hops
        elif self._is_open:
            self._left_hops -= 1
            self._is_open = self._left_hops > 0 or not at_rest
        return self._is_open

    def _lower_floor(self, power: float) -> None:
        self._part_floor = min(self._part_floor, power)
        self._floor = min(self._floor, power)
        self._num_hops += 1
        if self._num_hops % self._part_hops == 0:
            self._past_floors.append(self._part_floor)
            self._part_floor = math.inf
            self._floor = min(self._past_floors)


def context_hops(manifest: Manifest) -> int:
    """Hops before an answer that it looks back on, beside its own."""
    streaming = manifest.streaming
    return math.ceil(streaming.window_samples / streaming.hop_samples) - 1


def pre_roll_hops(manifest: Manifest) -> int:
    """Hops answered from before the gate opened: the onset, and what decisions on it look back on.

    The gate itself keeps `context_hops` more.
    """
    decision = manifest.keyword_decision
    looked_back = decision.smoothing_windows - 1 + decision.patience - 1
    return _hops(manifest, PRE_ROLL_S) + looked_back


def _hops(manifest: Manifest, seconds: float) -> int:
    return math.ceil(seconds * manifest.sample_rate / manifest.streaming.hop_samples)
