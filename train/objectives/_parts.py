"""What several objectives share: a batch's masks, checks, and the penalty on large features."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import MaskConfig
from ..data.batches import Batch
from ..data.masking import span_mask
from ..distributed import summed
from ..errors import CollapseError
from ..models.context import Visible
from ..models.keyword_transformer_config import KeywordTransformerConfig
from ..models.wav2vec2_config import Wav2Vec2Config
from ..seeding import Draws

FramesConfig = Wav2Vec2Config | KeywordTransformerConfig
"""Of encoders whose tokens are frames."""


def check_mask_embedding(config: Wav2Vec2Config, objective: str) -> None:
    """Refuse an encoder that has nothing to stand for hidden frames.

    Raises:
        ValueError: it says so; a recipe is told before a run starts.
    """
    if not config.mask_embedding:
        raise ValueError(f"{objective} hides frames: set encoder.mask_embedding = true")


def unmixed(device: torch.device) -> torch.autocast:
    """Inside, products are as precise as their factors, in a mixed-precision run too.

    Cosines are divided by 0.1, and bfloat16 has steps of 0.004 between 0.5 and 1.
    """
    return torch.autocast(device.type, enabled=False)


def num_frames(batch: Batch, config: FramesConfig) -> list[int]:
    """Encoder frames of each row, padding left out."""
    return [config.num_frames(length) for length in batch.num_samples]


def frame_mask(
    batch: Batch, config: FramesConfig, mask: MaskConfig, draws: Draws
) -> NDArray[np.bool_]:
    """Frames to hide: bool (batch, frames), never in the padding."""
    return span_mask(
        num_frames(batch, config),
        mask_prob=mask.prob,
        span=mask.span,
        min_spans=mask.min_spans,
        rng=draws.rows(batch.rows),
    )


def shown(hidden: NDArray[np.bool_], lengths: NDArray[np.int64], device: torch.device) -> Visible:
    """The frames that are neither hidden nor padding, in their order.

    Args:
        hidden: bool (rows, frames).
        lengths: (rows,), frames that are not padding.
        device: where the places go.
    """
    away = hidden | (np.arange(hidden.shape[1]) >= lengths[:, None])
    counts = (~away).sum(1)
    widest = int(counts.max())
    filler = np.arange(widest) >= counts[:, None]
    places = np.argsort(away, axis=1, kind="stable")[:, :widest]
    return Visible(
        torch.from_numpy(np.where(filler, 0, places)).to(device),
        torch.from_numpy(filler).to(device) if filler.any() else None,
    )


def feature_penalty(conv_features: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Mean square of the conv features over every process's frames that are not padding.

    Args:
        conv_features: (batch, frames, channels), before any norm.
        padding_mask: bool (batch, frames), True = padding, or None.

    Returns:
        a scalar; the mean over all processes, so that it is what one process would have found.
    """
    by_frame = conv_features.float().square().mean(-1)
    if padding_mask is not None:
        by_frame = by_frame.masked_fill(padding_mask, 0.0)
        count = (~padding_mask).sum()
    else:
        count = by_frame.new_tensor(by_frame.numel())
    return summed(by_frame.sum()) / summed(count.to(by_frame.dtype))


def check_spread(metrics: Mapping[str, float], update: int) -> None:
    """Refuse to go on where targets or predictions hardly differ from frame to frame.

    Raises:
        CollapseError: below what the reference allows.
    """
    for name, least in (("target_std", 0.1), ("prediction_std", 0.01)):
        if metrics.get(name, least) < least:
            raise CollapseError(
                f"{name} is {metrics[name]:.2g} at update {update}, below {least}: the model says "
                "the same of every frame. Lower optimizer.learning_rate, warm up longer, or give "
                "more audio to an update, and start anew"
            )
