"""What a training run is told: parts that every recipe is made of, without torch."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid")
"""For every recipe's dataclass: an unknown key is an error."""

Seed = Annotated[int, Field(ge=0)]
"""What numpy's generators take."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerConfig:
    """AdamW with a linear warm-up and a linear decay to zero; defaults: HuBERT Base."""

    learning_rate: float = 5e-4
    """At the end of the warm-up."""
    warmup_updates: int = 32_000
    """Updates from zero to `learning_rate`."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of Adam's two moments, each in [0, 1)."""
    eps: float = 1e-6
    """Added to Adam's denominator."""
    weight_decay: float = 0.01
    """Decoupled, per update and unit of learning rate."""
    clip_norm: float = 10.0
    """Largest gradient norm; 0 leaves gradients as they are."""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.warmup_updates < 0 or self.clip_norm < 0:
            raise ValueError(
                "learning_rate must be positive, warmup_updates and clip_norm 0 or more; "
                f"got {self.learning_rate}, {self.warmup_updates}, {self.clip_norm}"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchConfig:
    """How audio is cut into batches."""

    seconds: float = 87.5
    """Audio of one batch, padding included; the paper's 1.4 M samples."""
    crop_seconds: float = 15.625
    """Longer utterances are cropped to this, at random; the paper's 250 k samples."""

    min_seconds: float = 2.0
    """Shorter utterances are left out; the paper's 32 k samples."""

    def __post_init__(self) -> None:
        if not 0 < self.min_seconds <= self.crop_seconds <= self.seconds:
            raise ValueError(
                "0 < min_seconds <= crop_seconds <= seconds must hold, got "
                f"{self.min_seconds}, {self.crop_seconds}, {self.seconds}"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MaskConfig:
    """Which frames a masked-prediction objective hides."""

    prob: float = 0.8
    """Share of frames before overlaps, in [0, 1]; HuBERT takes 0.8, wav2vec 2.0 0.65."""
    span: int = 10
    """Frames hidden from each start on; 10 are 200 ms."""
    min_spans: int = 2
    """Spans of even the shortest utterance."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.prob <= 1.0 or self.span < 1 or self.min_spans < 0:
            raise ValueError(
                "prob must lie in [0, 1], span be 1 or more, min_spans 0 or more; "
                f"got {self.prob}, {self.span}, {self.min_spans}"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LogConfig:
    """When a run logs and saves."""

    log_every: int = 50
    """Updates between two lines of metrics.jsonl."""
    checkpoint_every: int = 1000
    """Updates between two states that --resume can go on from."""

    def __post_init__(self) -> None:
        if min(self.log_every, self.checkpoint_every) < 1:
            raise ValueError(
                "log_every and checkpoint_every must be 1 or more; "
                f"got {self.log_every}, {self.checkpoint_every}"
            )
