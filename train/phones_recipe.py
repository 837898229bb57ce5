"""What a training of a phone model is told."""

from typing import Literal

from pydantic.dataclasses import dataclass

from .config import STRICT, BatchConfig, LogConfig, OptimizerConfig, Seed
from .models.causal_keyword_transformer import CausalKeywordTransformerConfig
from .models.causal_tcn import CausalTcnConfig
from .nearest import nearest
from .tasks.augmenting import AugmentConfig
from .tasks.bodies import BODIES, is_causal


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
