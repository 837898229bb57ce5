"""Zero mean and unit variance for a stream, from what it has heard so far."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .frontend_config import RunningNormConfig

_NOTHING_LEFT = 40.0
"""Of a sum that has decayed by exp(-40), float64 sees nothing."""


class RunningNorm(nn.Module):
    """Normalize each sample by the exponentially weighted mean and variance up to it.

    A function of the past alone, so cutting a waveform anywhere changes nothing, nor does padding
    behind it. A step of fixed length and a whole waveform are the same few graph operations.
    Each step rounds the state once: in float32, steps from 10 ms on give what the whole gives to
    1e-5 of the largest value, steps of single samples to 1e-4.
    """

    def __init__(self, config: RunningNormConfig) -> None:
        super().__init__()
        self.config = config

    def initial_state(self, batch: int, *, like: Tensor) -> Tensor:
        """The state of streams that have heard nothing: (batch, 3), of the kind of `like`.

        Weight, sum and sum of squares, of the sound that the config supposes before the first.
        """
        config = self.config
        weight = float(config.prior_samples)
        prior = like.new_tensor([weight, 0.0, weight * config.prior_rms**2])
        return prior.expand(batch, 3)

    def forward(self, waveform: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normalize what comes next.

        Args:
            waveform: (batch, samples) in [-1, 1], one sample or more.
            state: (batch, 3) of the samples before; None: there are none.

        Returns:
            normalized waveform (batch, samples), and the state after it (batch, 3).
        """
        if state is None:
            state = self.initial_state(waveform.shape[0], like=waveform)
        parts = torch.stack([torch.ones_like(waveform), waveform, waveform.square()], dim=1)
        rate = -math.log1p(-1.0 / self.config.memory_samples)
        sums = _decayed_sums(parts, rate)
        # The state joins last, once: small numbers added to it one by one would each be rounded.
        steps = torch.arange(1, waveform.shape[1] + 1, dtype=waveform.dtype, device=waveform.device)
        sums = sums + state.unsqueeze(2) * (-rate * steps).exp()
        weight, total, squares = sums.unbind(dim=1)
        mean = total / weight
        variance = (squares / weight - mean.square()).clamp_min(0.0)
        normalized = (waveform - mean) / (variance + self.config.eps).sqrt()
        return normalized, sums[:, :, -1]


def _decayed_sums(values: Tensor, rate: float) -> Tensor:
    """Each place's sum of what is there and before, weighed by exp(-rate · distance).

    By doubling: sums over 1, 2, 4, … places, each made of two of those before. That has neither a
    loop over places nor shapes that depend on their number, and rounds as little as pairwise sums.

    Args:
        values: (..., places).
        rate: of decay, per place.
    """
    places = values.shape[-1]
    reach = 1  # places that a sum has in it
    while reach * rate < _NOTHING_LEFT:
        # An exported graph for any length cannot stop early: there, `places` is no number.
        if isinstance(places, int) and reach >= places:
            break
        before = functional.pad(values, (reach, 0))[..., :places]
        values = values + math.exp(-rate * reach) * before
        reach *= 2
    return values
