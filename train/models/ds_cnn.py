"""DS-CNN on log-mel: the keyword model to beat that no pretraining helps.

Layers of the small DS-CNN of Hello Edge (arXiv:1711.07128), which MLPerf Tiny uses; the input
here is 40 log-mels each 10 ms, where theirs is 10 MFCCs each 20 ms.
"""

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from ..config import STRICT
from .frontend import LogMel


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DsCnnConfig:
    """Sizes; the defaults are Hello Edge's small model."""

    num_mels: int = 40
    """Log-mel bands."""
    channels: int = 64
    """Of every convolution."""
    num_blocks: int = 4
    """Depthwise-separable blocks after the first convolution."""
    dropout: float = 0.2
    """Before the pooled vector, in [0, 1)."""


class DsCnn(nn.Module):
    """Waveform to one vector: log-mel, a convolution, depthwise-separable blocks, a mean."""

    def __init__(self, config: DsCnnConfig) -> None:
        super().__init__()
        self.config = config
        self.frontend = LogMel(config.num_mels)
        self.input_norm = nn.BatchNorm1d(config.num_mels)
        channels = config.channels
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, (10, 4), stride=2, padding=(5, 1), bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*(_separable(channels) for _ in range(config.num_blocks)))
        self.dropout = nn.Dropout(config.dropout)

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        return self.config.channels

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) to (batch, channels); `lengths` is not needed: padding is silence."""
        features = self.input_norm(self.frontend(waveform).transpose(1, 2)).transpose(1, 2)
        image = self.stem(features.unsqueeze(1))  # (batch, channels, frames / 2, mels / 2)
        pooled: Tensor = self.dropout(self.blocks(image)).mean(dim=(2, 3))
        return pooled


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )
