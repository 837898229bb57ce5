"""LightHuBERT's supernets: fairseq's names, always at full size, and a head for each target.

What is left of the HuBERT class that its student derives from (labels, final projection) was never
trained. `TABLE` reads the full net as an encoder, `SUPERNET` all that subnets are cut from; a
subnet is chosen after reading.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from ..renames import Drop, Table, one
from . import fairseq

_LEFT_OVER = "left over from HuBERT, never trained"

_HEAD = Drop("layer_pred_heads.*", "a head for the teacher's width; distilling makes a new one")

TABLE = Table(
    encoder=fairseq.ENCODER,
    dropped=(
        _HEAD,
        Drop("label_embs_concat", _LEFT_OVER),
        Drop("final_proj.*", _LEFT_OVER),
        fairseq.COUNTERS,
    ),
    needed=("mask_embedding",),
)

SUPERNET = replace(
    TABLE,
    heads=(one("layer_pred_heads.{l}.weight", "target_heads.{l}.weight"),),
    dropped=tuple(drop for drop in TABLE.dropped if drop is not _HEAD),
)

FIELDS = fairseq.FIELDS

MUST = fairseq.MUST

_FULL, _PRUNED = "student_hubert", "hubert_pruner"


def recognizes(keys: Collection[str], config: Mapping[str, Any]) -> bool:
    named = _model(config).get("_name") in (_FULL, _PRUNED)
    headed = any(key.startswith("layer_pred_heads.") for key in keys)
    return fairseq.is_fairseq(keys) and (named or headed)


def trained_as(config: Mapping[str, Any]) -> str | None:
    """What the file says its weights were trained as.

    Returns:
        "full" for stage 1, which trains the full net alone; for stage 2 the stem of the file that
        describes the supernet, in lower case, as "supernet-small"; None: it does not say.
    """
    model = _model(config)
    if model.get("_name") == _FULL:
        return "full"
    described = model.get("pruner_supernet")
    if not isinstance(described, str) or not described:
        return None
    return PurePosixPath(described).stem.lower()


def _model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    model = config.get("model")
    return model if isinstance(model, Mapping) else {}
