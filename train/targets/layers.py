"""Targets from a teacher's layers: the mean of its last feed-forward outputs.

Source: data2vec, arXiv:2202.03555, section 3.3; LightHuBERT distils the same, arXiv:2203.15610.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..distributed import summed

_EPS = 1e-5


def layer_mean(
    ffn_outputs: Sequence[Tensor], padding_mask: Tensor | None, *, top_layers: int, normalize: bool
) -> Tensor:
    """Mean of the last `top_layers` outputs in float32.

    Args:
        ffn_outputs: (batch, frames, embed_dim) for each layer, first layer first.
        padding_mask: bool (batch, frames), True = padding, or None.
        top_layers: how many, from the last back.
        normalize: bring each layer's channels to zero mean and unit variance over the frames of
            each utterance first, without weights (instance norm).

    Returns:
        (batch, frames, embed_dim); what stands in the padding means nothing.
    """
    chosen = ffn_outputs[-top_layers:]
    total = torch.zeros_like(chosen[0], dtype=torch.float32)
    for layer in chosen:
        total += over_time(layer.float(), padding_mask) if normalize else layer.float()
    return total / len(chosen)


def over_time(layer: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Instance norm: each channel's mean 0 and variance 1 over the frames of each utterance.

    Args:
        layer: (batch, frames, channels).
        padding_mask: bool (batch, frames), True = padding, which counts for nothing; or None.
    """
    if padding_mask is None:
        variance, mean = torch.var_mean(layer, 1, correction=0, keepdim=True)
        return (layer - mean) * torch.rsqrt(variance + _EPS)
    valid = (~padding_mask).unsqueeze(-1).to(layer.dtype)
    count = valid.sum(1, keepdim=True).clamp_min(1.0)
    mean = (layer * valid).sum(1, keepdim=True) / count
    centred = (layer - mean) * valid
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + _EPS)


@torch.no_grad()
def spread(frames: Tensor) -> Tensor:
    """How far frames differ: the standard deviation of each channel, averaged over channels.

    Counted over every process's frames. Near 0, a model says the same of every frame: it has
    collapsed.

    Args:
        frames: (frames, channels), 2 or more over all processes.

    Returns:
        a scalar; NaN for fewer frames, which tell nothing.
    """
    values = frames.float()
    count = summed(values.new_tensor(float(len(values))))
    mean = summed(values.sum(0)) / count
    variance = summed((values - mean).square().sum(0)) / (count - 1).clamp_min(0.0)
    return torch.sqrt(variance + 1e-6).mean()
