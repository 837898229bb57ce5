"""What a training of a phone model is told."""

from typing import Literal

from pydantic.dataclasses import dataclass

from .config import STRICT, BatchConfig, LogConfig, OptimizerConfig, Seed
from .data.label_share import LabelShare
from .models.causal_keyword_transformer import CausalKeywordTransformerConfig
from .models.causal_tcn import CausalTcnConfig
from .nearest import nearest
from .tasks.augmenting import AugmentConfig
from .tasks.bodies import BODIES, is_causal
from .tasks.pseudo_labels import UnlabelledConfig


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PhonesRecipe:
    """Training of a phone recognizer by CTC."""

    task: Literal["phones"]
    """The head and the score."""
    body: str
    """A causal body of `BODIES`."""
    causal_keyword_transformer: CausalKeywordTransformerConfig = CausalKeywordTransformerConfig()
    """Sizes of the `causal_keyword_transformer` body."""
    causal_tcn: CausalTcnConfig = CausalTcnConfig()
    """Sizes of the `causal_tcn` body."""
    labelled: LabelShare = LabelShare()
    """Share of the train partition's speakers whose phones are known, as if nobody had listened to
    the others."""
    unlabelled: UnlabelledConfig | None = None
    """How the train partition's other recordings are learned from; None: they are left out."""
    updates: int
    """Optimizer steps."""
    augment: AugmentConfig = AugmentConfig()
    """How recordings are varied."""
    optimizer: OptimizerConfig
    """Rates and decays."""
    batch: BatchConfig
    """Audio of an update; a crop would cut phones off, so longer recordings are left out."""
    log: LogConfig = LogConfig()
    """When to log and save."""
    seed: Seed = 0
    """Of new weights, order, augmentation and dropout."""

    def __post_init__(self) -> None:
        if not is_causal(self.body):
            causal = [name for name in BODIES if is_causal(name)]
            raise ValueError(
                f"phones are told frame by frame, by a causal body, and {self.body!r} is none; "
                f"{nearest(self.body, causal)}"
            )
        if self.updates < 1:
            raise ValueError(f"updates must be 1 or more, got {self.updates}")
        if self.augment.max_lead_ms:
            raise ValueError("rows of phones are whole recordings; leave augment.max_lead_ms at 0")
        share = None if self.unlabelled is None else self.unlabelled.share
        if share is not None and share < 1.0:
            least_s = min(share, 1.0 - share) * self.batch.seconds
            if least_s < self.batch.crop_seconds:
                raise ValueError(
                    f"unlabelled.share {share} of batch.seconds {self.batch.seconds} leaves "
                    f"{least_s:g} s to one kind of recordings, of which one may last "
                    f"batch.crop_seconds, {self.batch.crop_seconds}; raise batch.seconds or choose "
                    "another share"
                )
