"""Multiply-accumulates of a patch encoder, in closed form; what counts is as in macs.py."""

import numpy as np

from train.models.fourier import cheapest
from train.models.patches_config import PatchesConfig

from .macs import SAMPLE_RATE, Macs, layer_macs

_DFT = cheapest(512, 400, np.arange(1, 256))
"""Of the log-mel front end: Kaldi's window, and the bins that lie under its mel filters."""
BINS = _DFT.bins.size
"""Powers that it computes of a frame."""

FRONT_END_NUMBERS = 2 * _DFT.stride * (_DFT.num_rows + len(_DFT.residues)) + 4 * _DFT.bins.size
"""Of a frame, there at once: its samples as they are and split, and what the first stage makes of
them; the real and imaginary parts of its bins, and their squares."""


def patch_macs(
    config: PatchesConfig,
    num_samples: int = SAMPLE_RATE,
    *,
    shown: int | None = None,
    stop_after: int | None = None,
) -> Macs:
    """Count one pass; the front end is counted as `extractor`, positions cost nothing.

    Args:
        config: the encoder's sizes.
        num_samples: of the utterance.
        shown: patches that are embedded and run; None: all.
        stop_after: layers that run; None: all.

    Raises:
        ValueError: an utterance too short for a patch.
    """
    patches = config.num_patches(num_samples)
    if patches < 1:
        raise ValueError(f"num_samples must hold a patch or more, got {num_samples}")
    shown = patches if shown is None else shown
    tokens = shown + config.cls_token
    frames = config.num_frames(num_samples)
    return Macs(
        extractor=frames * (_DFT.macs + BINS * config.num_mels),
        projection=shown * config.patch_dim * config.embed_dim,
        positions=0,
        layers=sum(
            layer_macs(config.embed_dim, heads, ffn, config.head_dim, num_frames=tokens)
            for heads, ffn in zip(
                config.num_heads[:stop_after], config.ffn_dim[:stop_after], strict=True
            )
        ),
    )
