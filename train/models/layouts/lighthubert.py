"""LightHuBERT's supernets: fairseq's names, always at full size, and a head for each target.

What is left of the HuBERT class that its student derives from (labels, final projection) was never
trained. A subnet is chosen after reading.
"""

from collections.abc import Collection, Mapping
from typing import Any

from ..renames import Drop, Table
from . import fairseq

_LEFT_OVER = "left over from HuBERT, never trained"

TABLE = Table(
    encoder=fairseq.ENCODER,
    dropped=(
        Drop("layer_pred_heads.*", "a head for the teacher's width; distilling makes a new one"),
        Drop("label_embs_concat", _LEFT_OVER),
        Drop("final_proj.*", _LEFT_OVER),
        fairseq.COUNTERS,
    ),
    needed=("mask_embedding",),
)

FIELDS = fairseq.FIELDS

MUST = fairseq.MUST

_MODELS = ("student_hubert", "hubert_pruner")


def recognizes(keys: Collection[str], config: Mapping[str, Any]) -> bool:
    model = config.get("model")
    named = isinstance(model, Mapping) and model.get("_name") in _MODELS
    headed = any(key.startswith("layer_pred_heads.") for key in keys)
    return fairseq.is_fairseq(keys) and (named or headed)
