"""Sizes of the patch encoder family, without torch, so that planning stays instant."""

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from .frontend_config import HOP_SAMPLES, WINDOW_SAMPLES


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PatchesConfig:
    """A transformer over patches of a log-mel spectrogram; the defaults are AudioMAE's ViT-B.

    Source: AudioMAE, arXiv:2207.06405, section 3.1. It pads or cuts clips to 1,024 frames; here a
    clip of any length gives the whole patches that it holds, and what is left over is dropped.
    """

    num_mels: int = 128
    """Bands of the spectrogram, whose frames come at 100 Hz."""
    patch_frames: int = 16
    """Frames of a patch; 16 are 160 ms."""
    patch_mels: int = 16
    """Bands of a patch; a divisor of `num_mels`."""
    mean: float = -4.2677393
    """Of the corpus's log-mels, taken off each; the default is AudioSet's, as AudioMAE has it."""
    scale: float = 9.1379948
    """Each is divided by this; AudioMAE takes twice the corpus's standard deviation."""
    cls_token: bool = True
    """A learned token before the patches, without a place of its own."""
    embed_dim: int = 768
    """Width of the transformer; a multiple of 4 for the sines and cosines of two axes."""
    num_heads: tuple[int, ...] = (12,) * 12
    """Attention heads of each layer; the length is the depth."""
    ffn_dim: tuple[int, ...] = (3072,) * 12
    """Hidden width of each layer's feed-forward block; as long as `num_heads`."""
    head_dim: int = 64
    """Width of a head."""

    def __post_init__(self) -> None:
        if len(self.num_heads) != len(self.ffn_dim) or not self.num_heads:
            raise ValueError(
                f"num_heads and ffn_dim must list the same number of layers, one or more; "
                f"got {len(self.num_heads)} and {len(self.ffn_dim)}"
            )
        sizes = (self.num_mels, self.patch_frames, self.patch_mels, self.head_dim)
        if min(*sizes, *self.num_heads, *self.ffn_dim) < 1:
            raise ValueError(
                "num_mels, patch_frames, patch_mels, head_dim, num_heads and ffn_dim must be 1 or "
                "more"
            )
        if self.num_mels % self.patch_mels:
            raise ValueError(
                f"num_mels {self.num_mels} must be a multiple of patch_mels {self.patch_mels}"
            )
        if self.embed_dim < 4 or self.embed_dim % 4:
            raise ValueError(f"embed_dim must be a multiple of 4, got {self.embed_dim}")
        if self.scale <= 0:
            raise ValueError(f"scale must be positive, got {self.scale}")

    @property
    def num_layers(self) -> int:
        """Transformer layers."""
        return len(self.num_heads)

    @property
    def patches_per_column(self) -> int:
        """Patches above one another, at one time."""
        return self.num_mels // self.patch_mels

    @property
    def patch_dim(self) -> int:
        """Numbers of a patch."""
        return self.patch_frames * self.patch_mels

    def num_frames(self, num_samples: int) -> int:
        """Frames of the spectrogram that `num_samples` of waveform give."""
        return max(0, (num_samples - WINDOW_SAMPLES) // HOP_SAMPLES + 1)

    def num_patches(self, num_samples: int) -> int:
        """Whole patches that `num_samples` of waveform give."""
        return self.num_frames(num_samples) // self.patch_frames * self.patches_per_column
