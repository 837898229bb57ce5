"""One teacher: its encoder's first weights, its training, its checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import run
from .config import PretrainRecipe
from .data.source import Source
from .distributed import first_process_first
from .errors import RecipeError
from .learner import Learner
from .models.wav2vec2 import Wav2Vec2Encoder, load_encoder, save_encoder
from .objectives import Objective
from .seeding import seeded

_SIZES = (
    "conv_layers", "conv_norm", "conv_bias", "normalize_waveform", "embed_dim", "num_heads",
    "ffn_dim", "head_dim", "pos_conv_kernel", "pos_conv_groups", "pos_conv_depth",
    "pos_conv_weight_norm", "alibi", "pre_norm",
)  # fmt: skip
"""What two encoders must have in common for one's weights to serve the other."""


def new_encoder(recipe: PretrainRecipe, init: Path | None) -> Wav2Vec2Encoder:
    """The encoder that will learn: random from the recipe's seed, or with a checkpoint's weights.

    A mask embedding that only one of the two has is left random, or left out.

    Raises:
        TrainError: `init` is no checkpoint, or one of other sizes; the first that differs is named.
    """
    with seeded(recipe.seed):
        encoder = Wav2Vec2Encoder(recipe.encoder)
    if init is None:
        return encoder
    stored = load_encoder(init)
    for name in _SIZES:
        found, wanted = getattr(stored.config, name), getattr(recipe.encoder, name)
        if found != wanted:
            raise RecipeError(
                f"{init} has encoder.{name} {found!r} where the recipe has {wanted!r}; change the "
                "recipe or start from another checkpoint"
            )
    encoder.load_state_dict(stored.state_dict(), strict=False)
    return encoder


def train_teacher(
    objective: Objective,
    recipe: PretrainRecipe,
    source: Source,
    folder: Path,
    model: Path,
    *,
    updates: int,
    provenance: Mapping[str, Any],
) -> None:
    """Fit an objective and save its encoder.

    Args:
        objective: with the encoder that learns as `objective.encoder`.
        recipe: rates, batches, devices.
        source: unlabelled audio.
        folder: gets metrics and state.
        model: becomes the checkpoint.
        updates: optimizer steps.
        provenance: what the teacher is made from, in JSON values.
    """
    encoder = objective.encoder
    assert isinstance(encoder, Wav2Vec2Encoder)
    learner = Learner(objective, recipe.optimizer, updates=updates, seed=recipe.seed)
    run.fit(learner, source, recipe.batch, recipe.log, folder, devices=recipe.devices)
    with first_process_first():
        if not model.is_dir():
            save_encoder(
                model,
                recipe.encoder,
                encoder.state_dict(),
                provenance={"objective": recipe.objective, "seed": recipe.seed, **provenance},
            )
