"""Multiply-accumulates of a front end: what its tables are multiplied with."""

from functools import lru_cache

from train.models.frontend_config import FrontEndConfig


@lru_cache(maxsize=16)
def frame_macs(config: FrontEndConfig) -> int:
    """Count one frame: the window, the transform in its two stages, mel, and cepstra."""
    from train.models.frontend import FrontEnd

    tables = FrontEnd(config)  # tells how it splits a spectrum, and which bins are computed
    num_places = tables.window.shape[0]
    by_frame = num_places * tables.rows.numel() + tables.places.numel() + tables.mel.numel()
    return by_frame + (tables.cosines.numel() if config.num_cepstra else 0)
