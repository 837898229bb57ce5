"""What a training of a keyword model is told."""

from typing import Any, Literal

from pydantic.dataclasses import dataclass

from .config import STRICT
from .errors import RecipeError
from .labelled import LabelledRecipe
from .models.bc_resnet import BcResNetConfig
from .models.causal_keyword_transformer import CausalKeywordTransformerConfig
from .models.causal_tcn import CausalTcnConfig
from .models.conformer import ConformerConfig
from .models.ds_cnn import DsCnnConfig
from .models.frontend import SAMPLE_RATE
from .models.keyword_transformer_config import KeywordTransformerConfig
from .nearest import nearest
from .tasks.augmenting import AugmentConfig, front_ends
from .tasks.bodies import BODIES, ENCODER, CausalBody, is_causal
from .tasks.running import RunningConfig


@dataclass(frozen=True, kw_only=True, config=STRICT)
class KeywordsRecipe(LabelledRecipe):
    """Training of a keyword classifier; without an update it is saved and scored as it was."""

    task: Literal["keywords"]
    """The head and the score."""
    body: str = ENCODER
    """`wav2vec2`: the encoder given by --model; or one of `BODIES`, from scratch or from --model,
    a keyword model or, where there is one for it, a pretraining, which then gives the sizes too."""
    bc_resnet: BcResNetConfig = BcResNetConfig()
    """Sizes of the `bc_resnet` body."""
    conformer: ConformerConfig = ConformerConfig()
    """Sizes of the `conformer` body."""
    ds_cnn: DsCnnConfig = DsCnnConfig()
    """Sizes of the `ds_cnn` body."""
    keyword_transformer: KeywordTransformerConfig = KeywordTransformerConfig()
    """Sizes of the `keyword_transformer` body, which sees whole windows."""
    causal_keyword_transformer: CausalKeywordTransformerConfig = CausalKeywordTransformerConfig()
    """Sizes of the `causal_keyword_transformer` body, which a stream can run step by step."""
    causal_tcn: CausalTcnConfig = CausalTcnConfig()
    """Sizes of the `causal_tcn` body, whose steps are the cheapest."""
    running: RunningConfig | None = None
    """Train on running sound instead of windows, as a spotter is used; for causal bodies. `labels`
    are then the keywords, and everything else in the corpus is sound without them."""
    body_rate_scale: float = 1.0
    """The pretrained body's share of the learning rate, in (0, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.body != ENCODER and self.body not in BODIES:
            raise ValueError(
                f"there is no body {self.body!r}; {nearest(self.body, [ENCODER, *BODIES])}"
            )
        fixed = self.keyword_transformer.window_samples
        if self.body == "keyword_transformer" and fixed != self.window_samples:
            raise ValueError(
                f"a keyword_transformer of window_samples {fixed} judges no other window; "
                f"set window_seconds to {fixed / SAMPLE_RATE:g}, or keyword_transformer."
                f"window_samples to {self.window_samples}"
            )
        # Whether an encoder hears in chunks is known once it is read.
        if self.streaming == "incremental" and self.body != ENCODER and not is_causal(self.body):
            raise ValueError(
                f"streaming 'incremental' needs a causal body, and {self.body!r} is trained on "
                "whole windows; take 'sliding_window', or a causal body"
            )
        if self.running is not None and not is_causal(self.body):
            raise ValueError(
                f"running sound is heard frame by frame, and {self.body!r} is trained on whole "
                "windows; leave [running] out, or take a causal body"
            )
        if self.running is not None and (self.augment.max_shift_ms or self.augment.max_lead_ms):
            raise ValueError(
                "scenes of [running] place their words themselves; set augment.max_shift_ms and "
                "augment.max_lead_ms to 0"
            )
        if not 0.0 < self.body_rate_scale <= 1.0:
            raise ValueError(f"body_rate_scale must lie in (0, 1], got {self.body_rate_scale}")


def check_augment(config: AugmentConfig, body: Any, name: str) -> None:
    """Refuse variations that a body called `name` cannot hear as such.

    Raises:
        RecipeError: a lead before the window, or stripes of features, without what they need.
    """
    if config.max_lead_ms and not isinstance(body, CausalBody):
        raise RecipeError(
            f"augment.max_lead_ms puts sound before a window, which body {name!r} would take for a "
            "part of it; leave it at 0, or train a causal body"
        )
    if config.stripes.masks and not front_ends(body):
        raise RecipeError(
            f"augment.stripes hides features, and body {name!r} hears the waveform itself; leave "
            "it out, or train a body with a front end"
        )
