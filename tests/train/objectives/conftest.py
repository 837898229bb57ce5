"""Every objective at a size that scores a batch in milliseconds, and parts of a batch."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from train.config import MaskConfig
from train.data.batches import Batch
from train.models.keyword_transformer import KeywordEncoder
from train.models.keyword_transformer_config import KeywordTransformerConfig
from train.models.patches import PatchEncoder
from train.models.patches_config import PatchesConfig
from train.objectives import Loss, Objective
from train.pretrain import get_objective
from train.seeding import Draws
from train.targets.units import Units

Encoder = TypeVar("Encoder", bound=torch.nn.Module)

NUM_UNITS = 7
STACK = {"pos_conv_depth": 3, "pos_conv_kernel": 5, "pos_conv_weight_norm": False}
ENCODERS: dict[str, dict[str, Any]] = {
    "hubert": {},
    "wav2vec2": {},
    "data2vec": STACK,
    "data2vec2": STACK | {"alibi": True, "mask_embedding": False},
}
KEYWORDS: dict[str, Any] = {
    "embed_dim": 16,
    "num_heads": 2,
    "head_dim": 8,
    "ffn_dim": 24,
    "num_layers": 2,
    "pre_norm": True,
}
PATCHES: dict[str, Any] = {
    "num_mels": 8,
    "patch_frames": 4,
    "patch_mels": 4,
    "mean": -5.0,
    "scale": 4.0,
    "embed_dim": 16,
    "num_heads": (2, 2, 2, 2),
    "ffn_dim": (24, 24, 24, 24),
    "head_dim": 8,
}


def _recipes() -> dict[str, dict[str, Any]]:
    from train.objectives.data2vec2 import DecoderConfig
    from train.objectives.dmae import DecoderConfig as GapConfig
    from train.objectives.hubert import RoundConfig

    mask = MaskConfig(prob=0.5, span=3)
    return {
        "hubert": {
            "mask": mask,
            "final_dim": 6,
            "masked_share": 0.8,
            "rounds": (RoundConfig(units="mfcc", num_clusters=NUM_UNITS, updates=1),),
        },
        "wav2vec2": {"mask": mask, "entries": 5, "final_dim": 6, "num_negatives": 6},
        "data2vec": {"mask": mask, "top_layers": 2},
        "data2vec_kws": {"mask": mask, "top_layers": 2},
        "data2vec2": {
            "num_masks": 3,
            "top_layers": 2,
            "mask_span": 3,
            "decoder": DecoderConfig(dim=8, groups=4, kernel=3, num_layers=3, noise_std=0.0),
        },
        "dmae": {
            "decoder": GapConfig(dim=8, num_heads=2, ffn_dim=12, num_layers=2),
            "feature_weight": 2.0,
        },
    }


def _units() -> Units:
    rng = np.random.default_rng(0)
    sequences = {f"cut{row}": rng.integers(0, NUM_UNITS, 110).astype(np.int16) for row in range(4)}
    return Units(sequences, 100, NUM_UNITS)


def _patch_encoder(**changes: Any) -> PatchEncoder:
    return _shaken(lambda: PatchEncoder(PatchesConfig(**(PATCHES | changes))))


def _keyword_encoder(**changes: Any) -> KeywordEncoder:
    return _shaken(lambda: KeywordEncoder(KeywordTransformerConfig(**(KEYWORDS | changes))))


def _shaken(build: Callable[[], Encoder]) -> Encoder:
    """In eval mode, with norms and biases away from ones and zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        encoder = build()
        with torch.no_grad():
            for name, weight in encoder.named_parameters():
                if name.endswith("bias"):
                    weight.normal_(std=0.3)
                elif "norm" in name:
                    weight.uniform_(0.5, 1.5)
    return encoder.eval()


@pytest.fixture(scope="session")
def make_patch_encoder() -> Callable[..., PatchEncoder]:
    """A tiny patch encoder in eval mode, four layers."""
    return _patch_encoder


@pytest.fixture(scope="session")
def make_objective(make_encoder: Callable[..., Any]) -> Callable[..., Objective]:
    """An objective by its name in eval mode; its teacher, if it has one, is not its student."""

    def make(name: str, *, encoder: dict[str, Any] | None = None, **changes: Any) -> Any:
        if name == "dmae":
            student: Any = _patch_encoder(**(encoder or {}))
        elif name == "data2vec_kws":
            student = _keyword_encoder(**(encoder or {}))
        else:
            student = make_encoder(**(ENCODERS[name] | (encoder or {})))
        module = get_objective(name)
        recipe = module.Recipe(
            objective=name, encoder=student.config, **(_recipes()[name] | changes)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            if name == "hubert":
                objective = module.Hubert(student, recipe, _units())
            elif recipe.needs_teacher:
                sizes = {"embed_dim": 24, "num_heads": (2,) * 6, "ffn_dim": (32,) * 6}
                teacher = _patch_encoder(**((encoder or {}) | sizes))
                objective = module.build(student, recipe, teacher)
            else:
                objective = module.build(student, recipe)
            if name.startswith("data2vec"):
                with torch.no_grad():
                    for weight in objective.teacher.parameters():
                        weight.add_(torch.randn_like(weight) * 0.1)
        return objective.eval()

    return make


@pytest.fixture(scope="session")
def some_rows() -> Callable[[Batch, list[int]], Batch]:
    """Some rows of a batch as another pass or device would get them: no wider than they need."""

    def take(batch: Batch, rows: list[int]) -> Batch:
        lengths = [batch.num_samples[row] for row in rows]
        return dataclasses.replace(
            batch,
            cut_ids=[batch.cut_ids[row] for row in rows],
            waveform=batch.waveform[rows, : max(lengths)],
            lengths=torch.tensor(lengths),
            num_samples=lengths,
            starts=[batch.starts[row] for row in rows],
            labels=[batch.labels[row] for row in rows],
            rows=[batch.rows[row] for row in rows],
        )

    return take


@pytest.fixture(scope="session")
def score() -> Callable[..., Loss]:
    """The loss of a batch, without gradient."""

    def run(objective: Objective, batch: Batch, seed: int = 0) -> Loss:
        with torch.no_grad():
            loss: Loss = objective(batch, Draws(seed, batch.step))
        return loss

    return run
