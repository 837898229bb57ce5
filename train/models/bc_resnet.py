"""BC-ResNet on log-mel: keywords with few weights, by residuals broadcast over frequency.

Source: Kim et al., arXiv:2106.04140, and the sizes of its authors' code.
"""

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from ..config import STRICT
from .frontend import FrontEnd
from .frontend_config import FrontEndConfig, NamedFrontEnd

_SUB_BANDS = 5
_STAGE_WIDTHS = (1.0, 1.5, 2.0, 2.5)
STRIDES = (1, 2, 2, 1)
"""Widths of the stages in units of the first's, and the stride over frequency of each one's first
block."""

LOG_MEL = FrontEndConfig(
    window="hann",
    window_samples=480,
    remove_mean=False,
    preemphasis=0.0,
    triangles="hertz",
    lowest_hz=0.0,
    floor=1e-6,
    floor_added=True,
)
"""torchaudio's mel spectrogram, 30 ms each 10 ms, and a logarithm. Frames lie within the clip, 98
in a second, as in the paper's counts; the authors' code mirrors the clip's ends and has 101."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BcResNetConfig:
    """Sizes; the defaults are BC-ResNet-1."""

    tau: float = 1.0
    """Scale of all widths; the paper has 1, 1.5, 2, 3, 6 and 8."""
    front_end: NamedFrontEnd = LOG_MEL
    """What is looked at, or the name of a preset; a multiple of 40 bands."""
    dropout: float = 0.1
    """Of whole channels, in [0, 1)."""
    num_blocks: tuple[int, int, int, int] = (2, 2, 4, 4)
    """Of each stage; the paper's, in all sizes."""

    def __post_init__(self) -> None:
        if min(self.num_blocks) < 1:
            raise ValueError(f"num_blocks must be 1 or more in every stage, got {self.num_blocks}")
        if self.tau < 0.5:
            raise ValueError(f"tau must be 0.5 or more, got {self.tau:g}")
        bands = self.front_end.output_dim
        if bands % (8 * _SUB_BANDS):
            raise ValueError(
                "front_end must give a multiple of 40 bands: they are halved three times and "
                f"then cut in {_SUB_BANDS}; got {bands}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")

    @property
    def base_channels(self) -> int:
        """Width of the first stage; what is no whole number is cut off, as in every width."""
        return int(8 * self.tau)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(int(self.base_channels * width) for width in _STAGE_WIDTHS)


class SubSpectralNorm(nn.Module):
    """BatchNorm whose statistics, scales and shifts are of each sub-band, not of all of frequency.

    Source: Chang et al., arXiv:2103.13620.
    """

    def __init__(self, channels: int, sub_bands: int = _SUB_BANDS) -> None:
        super().__init__()
        self.sub_bands = sub_bands
        self.norm = nn.BatchNorm2d(channels * sub_bands)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, channels, bands, frames) to the same shape; bands divide by `sub_bands`."""
        batch, channels, bands, _ = image.shape
        # (batch, channels * sub_bands, bands / sub_bands, frames)
        split = image.reshape(batch, channels * self.sub_bands, bands // self.sub_bands, -1)
        normed: Tensor = self.norm(split).reshape(batch, channels, bands, -1)
        return normed


class BroadcastedBlock(nn.Module):
    """A convolution over frequency, and one over time of its mean, broadcast back over it."""

    def __init__(
        self, in_channels: int, channels: int, *, stride: int, dilation: int, dropout: float
    ) -> None:
        """Make.

        Args:
            in_channels: of the image; where they differ from `channels`, it is a transition block.
            channels: of the result.
            stride: over frequency.
            dilation: over time.
            dropout: of the channels that are broadcast.
        """
        super().__init__()
        self.transition = in_channels != channels
        widen = (
            nn.Conv2d(in_channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.over_frequency = nn.Sequential(
            *(widen if self.transition else ()),
            nn.Conv2d(channels, channels, (3, 1), (stride, 1), (1, 0), groups=channels, bias=False),
            SubSpectralNorm(channels),
        )
        self.over_time = nn.Sequential(
            nn.Conv2d(
                channels,
                channels,
                (1, 3),
                padding=(0, dilation),
                dilation=(1, dilation),
                groups=channels,
                bias=False,
            ),
            nn.BatchNorm2d(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Dropout2d(dropout),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(batch, in_channels, bands, frames) to (batch, channels, bands / stride, frames)."""
        spectral = self.over_frequency(image)
        temporal = self.over_time(spectral.mean(dim=2, keepdim=True))
        mixed = spectral + temporal  # equation 3; a transition block lacks the identity
        return torch.relu(mixed if self.transition else mixed + image)


class BcResNet(nn.Module):
    """Waveform to one vector: log-mel, stages of broadcasted blocks, a mean.

    It takes any length of a frame or more, and looks ahead: a stream runs it on sliding windows.
    """

    def __init__(self, config: BcResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.frontend = FrontEnd(config.front_end)
        base = config.base_channels
        widths = config.widths
        self.stem = nn.Sequential(
            nn.Conv2d(1, 2 * base, 5, stride=(2, 1), padding=2, bias=False),
            nn.BatchNorm2d(2 * base),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            *(
                BroadcastedBlock(
                    (2 * base, *widths)[stage] if block == 0 else widths[stage],
                    widths[stage],
                    stride=STRIDES[stage] if block == 0 else 1,
                    dilation=2**stage,
                    dropout=config.dropout,
                )
                for stage, num_blocks in enumerate(config.num_blocks)
                for block in range(num_blocks)
            )
        )
        last = widths[-1]
        self.tail = nn.Sequential(
            nn.Conv2d(last, last, 5, padding=(0, 2), groups=last, bias=False),
            nn.Conv2d(last, self.output_dim, 1, bias=False),
            nn.BatchNorm2d(self.output_dim),
            nn.ReLU(),
        )

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        return 4 * self.config.base_channels

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) to (batch, output_dim); `lengths` is not needed: padding is silence."""
        image = self.frontend(waveform).transpose(1, 2).unsqueeze(1)  # (batch, 1, bands, frames)
        pooled: Tensor = self.tail(self.blocks(self.stem(image))).mean(dim=(2, 3))
        return pooled
