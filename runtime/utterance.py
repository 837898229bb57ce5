"""What somebody says into a microphone, up to the silence after it."""

import math
from collections.abc import Iterable

import numpy as np

from .faults import AudioFault
from .gate import SpeechGate
from .waveform import as_waveform

QUIET_S = 1.2
"""Silence that ends an utterance: longer than readers pause between two words."""
PATIENCE_S = 10.0
"""How long somebody may take to begin."""
MOST_S = 60.0
"""Longest utterance: in a noise that never rests the end is not heard."""
_HOP_S = 0.1


def utterance(blocks: Iterable[np.ndarray], sample_rate: int) -> np.ndarray:
    """Listen until something was said and `QUIET_S` of silence came after it.

    Speech is what opens `SpeechGate`; so is any other sound that stands out.

    Args:
        blocks: as `Stream.push` takes them, of any size; no more are taken than needed.
        sample_rate: samples per second of `blocks`.

    Returns:
        float32 (samples,) in [-1, 1]: all that was heard from the first block on, about `MOST_S` at
        most; where the source ends before, all of it.

    Raises:
        AudioFault: nothing was said for `PATIENCE_S`, or in all of a source that ends; what
            `blocks` raises.
    """
    hop_samples = round(_HOP_S * sample_rate)
    hold_hops = math.ceil(QUIET_S / _HOP_S)
    gate = SpeechGate(hop_samples, sample_rate, hold_hops)
    heard: list[np.ndarray] = []
    waiting = np.zeros(0, dtype=np.float32)
    num_hops, spoke = 0, False
    for block in blocks:
        heard.append(as_waveform(block).copy())
        waiting = np.concatenate([waiting, heard[-1]])
        while len(waiting) >= hop_samples:
            is_open = gate.hears(waiting[:hop_samples], at_rest=True)
            waiting = waiting[hop_samples:]
            num_hops += 1
            # It begins open, so that only one that stays open, or opens again, has heard something.
            spoke = spoke or (is_open and num_hops > hold_hops)
            if (spoke and not is_open) or num_hops * _HOP_S >= MOST_S:
                return np.concatenate(heard)
            if not spoke and num_hops * _HOP_S >= PATIENCE_S:
                raise AudioFault(
                    f"nothing was said for {PATIENCE_S:g} s: speak up, or choose another microphone"
                )
    if not spoke:
        raise AudioFault("nothing was said before the sound ended: speak up, or record it again")
    return np.concatenate(heard)
