"""A space of keyword models small enough to list, its supernet's recipe, and both by name."""

import pytest

from compress import keyword_space_table
from compress.distill.in_place import KeywordSupernetRecipe
from compress.keyword_spaces import Choice, KeywordSpace
from train.config import BatchConfig, LogConfig, OptimizerConfig
from train.data.spec_augment import SpecAugmentConfig
from train.models.ds_cnn import DsCnnConfig
from train.models.keyword_transformer_config import KeywordTransformerConfig
from train.tasks.augmenting import AugmentConfig

TRANSFORMERS = KeywordSpace(
    name="tiny-kwt",
    body="keyword_transformer",
    full=KeywordTransformerConfig(
        embed_dim=12, num_heads=2, head_dim=4, ffn_dim=16, num_layers=2, window_samples=8_000
    ),
    choices=(
        Choice(size="embed_dim", values=(4, 8, 12)),
        Choice(size="num_heads", values=(1, 2)),
        Choice(size="ffn_dim", values=(8, 16)),
        Choice(size="num_layers", values=(1, 2)),
    ),
    window_samples=8_000,
)
CNNS = KeywordSpace(
    name="tiny-cnn",
    body="ds_cnn",
    full=DsCnnConfig(num_mels=10, channels=6, num_blocks=2, dropout=0.0),
    choices=(
        Choice(size="channels", values=(2, 4, 6)),
        Choice(size="num_blocks", values=(1, 2)),
    ),
    window_samples=8_000,
)
SPACES = {space.name: space for space in (TRANSFORMERS, CNNS)}
UPDATES = 4


def recipe(space: str, **changes) -> KeywordSupernetRecipe:
    """Of a training that takes a second on the tests' corpus."""
    asked = {
        "scheme": "in_place",
        "space": space,
        "num_random": 1,
        "min_clips_per_label": 2,
        "window_seconds": 0.5,
        "augment": AugmentConfig(stripes=SpecAugmentConfig(time_masks=1, max_frames=5)),
        "updates": UPDATES,
        "optimizer": OptimizerConfig(learning_rate=3e-3, warmup_updates=2, clip_norm=1.0),
        "batch": BatchConfig(seconds=2.0, crop_seconds=0.6, min_seconds=0.3),
        "log": LogConfig(log_every=1, checkpoint_every=2),
        "seed": 2,
    }
    return KeywordSupernetRecipe(**(asked | changes))


@pytest.fixture(scope="module", autouse=True)
def tiny_spaces_known():
    """The spaces can be found by name."""
    with pytest.MonkeyPatch.context() as patch:
        for space in SPACES.values():
            patch.setitem(keyword_space_table.KEYWORD_SPACES, space.name, space)
        yield
