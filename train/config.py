"""What a training run is told: parts that every recipe is made of, without torch."""

import math
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from .data.label_share import LabelShare
from .models.keyword_transformer_config import KeywordTransformerConfig
from .models.patches_config import PatchesConfig
from .models.wav2vec2_config import Wav2Vec2Config

EncoderConfig = Wav2Vec2Config | PatchesConfig | KeywordTransformerConfig
"""Of any family."""

STRICT = ConfigDict(extra="forbid")
"""For every recipe's dataclass: an unknown key is an error."""

Seed = Annotated[int, Field(ge=0)]
"""What numpy's generators take."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerConfig:
    """AdamW and its schedule, which warms up in a line; defaults: HuBERT Base."""

    learning_rate: float = 5e-4
    """At the end of the warm-up."""
    warmup_updates: int = 32_000
    """Updates from zero to `learning_rate`."""
    schedule: Literal["linear", "tri_stage", "cosine"] = "linear"
    """After the warm-up: down a line to zero; hold, then fall exponentially; down a cosine."""
    decay_updates: int = 0
    """Of `tri_stage`: the last updates, over which the rate falls to a hundredth; 0 elsewhere."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of Adam's two moments, each in [0, 1)."""
    eps: float = 1e-6
    """Added to Adam's denominator."""
    weight_decay: float = 0.01
    """Decoupled, per update and unit of learning rate."""
    decay_vectors: bool = True
    """Norms, biases and other vectors are decayed too, as in fairseq; not in data2vec 2.0."""
    clip_norm: float = 10.0
    """Largest gradient norm; 0 leaves gradients as they are."""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.warmup_updates < 0 or self.clip_norm < 0:
            raise ValueError(
                "learning_rate must be positive, warmup_updates and clip_norm 0 or more; "
                f"got {self.learning_rate}, {self.warmup_updates}, {self.clip_norm}"
            )
        if (self.schedule == "tri_stage") != (self.decay_updates > 0):
            raise ValueError(
                "decay_updates goes with schedule = 'tri_stage' and must be 1 or more there; got "
                f"{self.decay_updates} with {self.schedule!r}"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchConfig:
    """How audio is cut into batches."""

    seconds: float = 87.5
    """Audio of an update over all devices, padding included; the papers' 1.4 M samples a device
    times their devices."""
    device_seconds: float | None = None
    """Most audio of one pass on a device; an update is made of as many passes as it takes. None:
    each device takes its share of an update at once."""
    crop_seconds: float = 15.625
    """Longer utterances are cropped to this, at random; the paper's 250 k samples."""
    min_seconds: float = 2.0
    """Shorter utterances are left out; the paper's 32 k samples."""
    trim: bool = False
    """Cut utterances to the shortest of their pass, as the papers do, rather than pad them: what
    a GroupNorm extractor gives depends on padding."""

    def __post_init__(self) -> None:
        if not 0 < self.min_seconds <= self.crop_seconds <= self.seconds:
            raise ValueError(
                "0 < min_seconds <= crop_seconds <= seconds must hold, got "
                f"{self.min_seconds}, {self.crop_seconds}, {self.seconds}"
            )
        if self.device_seconds is not None and self.device_seconds < self.crop_seconds:
            raise ValueError(
                "device_seconds must hold an utterance of crop_seconds, got "
                f"{self.device_seconds} and {self.crop_seconds}"
            )

    def passes(self, world_size: int) -> int:
        """Passes that each of `world_size` devices makes for an update."""
        if self.device_seconds is None:
            return 1
        return math.ceil(self.seconds / (self.device_seconds * world_size))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DeviceConfig:
    """How the arithmetic is laid out over devices.

    It changes results by rounding, and by which rows share a pass where that matters: with
    `batch.trim`, and to a GroupNorm extractor, which counts its pass's padding.
    """

    precision: Literal["32", "bf16"] = "32"
    """`bf16`: matrix products in bfloat16, weights and sums in float32."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """With several processes: each holds all weights (`ddp`), or a part of them (`fsdp`)."""


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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PretrainRecipe:
    """What every objective's recipe holds; the defaults are the Base models'."""

    objective: str
    """The paper that this recipe follows: a file of train/objectives."""
    encoder: EncoderConfig
    """Sizes of the encoder that learns; an objective says which family it trains."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Rates and decays."""
    batch: BatchConfig = BatchConfig()
    """Audio of an update."""
    devices: DeviceConfig = DeviceConfig()
    """Precision, and what several processes share."""
    without_labelled: LabelShare | None = None
    """Speakers of whom a fine-tuning with this as `labelled`, and with the same batch.min_seconds,
    has labels are left out; None: every recording of the train partition is used."""
    log: LogConfig = LogConfig()
    """When to log and save."""
    seed: Seed = 0
    """Of weights, masks, crops, dropout and k-means."""

    @property
    def needs_teacher(self) -> bool:
        """Whether a frozen teacher has to be given, because none comes of the training itself."""
        return False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OneRoundRecipe(PretrainRecipe):
    """A recipe whose targets are made while it trains, so that it trains in one go."""

    updates: int = 400_000
    """Optimizer steps."""

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise ValueError(f"updates must be 1 or more, got {self.updates}")
