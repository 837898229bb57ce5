"""Learning rates by update, as shares of the peak.

Source: specs of fairseq's polynomial_decay, tri_stage and cosine schedulers.
"""

import math

from .config import OptimizerConfig

_FINAL_SCALE = 0.01
"""What tri_stage falls to."""


def rate(config: OptimizerConfig, update: int, updates: int) -> float:
    """Share of the peak rate.

    Args:
        config: warm-up, and what follows it.
        update: counted from 0.
        updates: of the whole run; the rate is zero from there on.

    Returns:
        in [0, 1]: up a line to 1 at the end of the warm-up, then as `config.schedule` says.
    """
    warmup = min(config.warmup_updates, updates)
    if update >= updates:
        return 0.0
    if update < warmup:
        return (update + 1) / (warmup + 1)
    left = (updates - update) / max(1, updates - warmup)
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
    if config.schedule == "tri_stage":
        decayed = max(0.0, config.decay_updates - (updates - update)) / config.decay_updates
        return float(_FINAL_SCALE**decayed)
    return left
