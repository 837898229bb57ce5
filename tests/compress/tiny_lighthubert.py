"""A file in LightHuBERT's layout that takes kilobytes, and the space that it fits."""

from pathlib import Path
from typing import Any

import foreign_names as names
import torch
from torch import Tensor

from compress.spaces import Space
from train.models.wav2vec2_config import Conv, Wav2Vec2Config

SIZES = names.Sizes(
    **{**names.TINY, "ffn_dim": 16, "num_layers": 3}, **names.TINY_POSITIONS, layered=True
)
LAST_HEAD = "layer_pred_heads.2.weight"
SHAPES = (
    names.fairseq(SIZES)
    | {"label_embs_concat": (7, 4)}
    | names.linear("final_proj", 8, 4)
    | {LAST_HEAD: (12, 8)}
)  # fmt: skip

SPACE = Space(
    name="tiny",
    supernet=Wav2Vec2Config(
        conv_layers=(Conv(channels=6, kernel=3, stride=2), Conv(channels=6, kernel=2, stride=2)),
        conv_norm="layer",
        normalize_waveform=True,
        embed_dim=8,
        head_dim=4,
        num_heads=(2,) * 3,
        ffn_dim=(16,) * 3,
        pos_conv_kernel=5,
        pos_conv_groups=2,
        layerdrop=0.0,
        feature_grad_mult=1.0,
    ),
    embed_dim=(4, 8),
    num_heads=(1, 2),
    ffn_ratio=(1.0, 1.5, 2.0),
    depth=(2, 3),
)

MODEL: dict[str, Any] = {
    "_name": "hubert_pruner",
    "pruner_supernet": "/job/conf/Supernet-Tiny.yaml",
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(6, 3, 2)] + [(6, 2, 2)]",
}


def write_file(
    path: Path, *, tensors: dict[str, Tensor] | None = None, **model: Any
) -> dict[str, Tensor]:
    """Write such a file; `model` changes its settings, None takes one out. Returns its tensors."""
    tensors = names.filled(SHAPES) if tensors is None else tensors
    settings = {key: value for key, value in (MODEL | model).items() if value is not None}
    torch.save({"cfg": {"model": settings}, "model": tensors}, path)
    return tensors
