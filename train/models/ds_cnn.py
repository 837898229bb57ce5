"""DS-CNN: the keyword model to beat that no pretraining helps.

Layers of the small DS-CNN of Hello Edge (arXiv:1711.07128), which MLPerf Tiny uses. The input is
40 log-mels each 10 ms; MLPerf Tiny's, 10 MFCCs each 20 ms, is `front_end = "mlperf-tiny-mfcc"`
with `normalize_input = false`. Its convolutions have biases as well, which the norms after them
make idle; here they have none.
"""

import dataclasses

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from ..config import STRICT
from .frontend import FrontEnd
from .frontend_config import FrontEndConfig, NamedFrontEnd, preset


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DsCnnConfig:
    """Sizes; the defaults are Hello Edge's small model."""

    num_mels: int = 40
    """Bands of Kaldi's log-mel, where `front_end` is not given."""
    front_end: NamedFrontEnd | None = None
    """What is looked at, or the name of a preset; it has its own `num_mels`."""
    normalize_input: bool = True
    """A norm over each feature first."""
    channels: int = 64
    """Of every convolution."""
    num_blocks: int = 4
    """Depthwise-separable blocks after the first convolution."""
    dropout: float = 0.2
    """Before the pooled vector, in [0, 1)."""

    def __post_init__(self) -> None:
        if self.front_end is not None and self.num_mels != DsCnnConfig.num_mels:
            raise ValueError(
                f"num_mels {self.num_mels} is of Kaldi's log-mel, and front_end is given; "
                "set front_end.num_mels"
            )

    @property
    def features(self) -> FrontEndConfig:
        """What the first convolution sees."""
        if self.front_end is not None:
            return self.front_end
        return dataclasses.replace(preset("kaldi-logmel"), num_mels=self.num_mels)


class DsCnn(nn.Module):
    """Waveform to one vector: features, a convolution, depthwise-separable blocks, a mean."""

    def __init__(self, config: DsCnnConfig) -> None:
        super().__init__()
        self.config = config
        self.frontend = FrontEnd(config.features)
        self.input_norm = (
            nn.BatchNorm1d(config.features.output_dim) if config.normalize_input else nn.Identity()
        )
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
        image = self.stem(features.unsqueeze(1))  # (batch, channels, frames / 2, features / 2)
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
