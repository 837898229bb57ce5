"""A front end for streams: each frame is made once, of what was heard."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .frontend import FrontEnd
from .frontend_config import FrontEndConfig
from .streaming import Shapes, States


class CausalFrontEnd(nn.Module):
    """Frame t looks at nothing after sample (t + 1) * hop; silence lies before the first sample."""

    def __init__(self, config: FrontEndConfig) -> None:
        """Make.

        Args:
            config: one that `check_causal` lets pass.
        """
        super().__init__()
        self.hop_samples = config.hop_samples
        self.spectrum = FrontEnd(config, for_steps=True)
        self.tail_samples = config.frame_samples - config.hop_samples

    def shapes(self) -> Shapes:
        """Of the samples that frames to come will look at again."""
        return {"tail": (self.tail_samples,)} if self.tail_samples else {}

    def forward(self, waveform: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """(batch, samples: a multiple of the hop) to (batch, samples / hop, features)."""
        if not self.tail_samples:
            return self.spectrum(waveform), {}
        signal = torch.cat([states["tail"], waveform], dim=1)
        return self.spectrum(signal), {"tail": signal[:, -self.tail_samples :]}


def check_causal(config: FrontEndConfig) -> None:
    """Refuse a front end that a stream cannot make frame by frame.

    Raises:
        ValueError: frames depend on what comes later, or leave samples out.
    """
    if not config.frames_stand_alone:
        raise ValueError(
            "front_end must give frames of their own samples alone, for a stream: no top_db, no "
            f"deltas, framing 'window' or 'fft'; got top_db {config.top_db}, num_deltas "
            f"{config.num_deltas}, framing {config.framing!r}"
        )
    if config.hop_samples > config.frame_samples:
        raise ValueError(
            f"front_end.hop_samples must be at most a frame, {config.frame_samples}, for a stream; "
            f"got {config.hop_samples}"
        )
