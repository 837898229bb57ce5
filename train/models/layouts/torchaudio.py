"""torchaudio's Wav2Vec2Model, alone, with a CTC layer (`aux`) or inside HuBERTPretrainModel.

Its encoders have no mask embedding: the pretraining wrapper holds it. The label table has no rows
for a dictionary's symbols. The files hold no sizes and no settings.
"""

from collections.abc import Collection, Mapping
from typing import Any

from ..renames import Drop, Table, one, weight_normed
from .fairseq import COUNTERS

_LAYER = "encoder.transformer.layers.{l}."

TABLE = Table(
    encoder=(
        one("mask_generator.mask_embedding", "mask_embedding"),
        one("feature_extractor.conv_layers.{i}.conv.", "feature_extractor.{i}.conv."),
        one("feature_extractor.conv_layers.{i}.layer_norm.", "feature_extractor.{i}.norm."),
        one("encoder.feature_projection.layer_norm.", "feature_norm."),
        one("encoder.feature_projection.projection.", "feature_projection."),
        *weight_normed(
            "encoder.transformer.pos_conv_embed.conv.", "pos_conv.conv.", new_names=False
        ),
        one("encoder.transformer.layer_norm.", "norm."),
        one(_LAYER + "attention.", "layers.{l}.attention."),
        one(_LAYER + "layer_norm.", "layers.{l}.attention_norm."),
        one(_LAYER + "feed_forward.intermediate_dense.", "layers.{l}.ffn.up."),
        one(_LAYER + "feed_forward.output_dense.", "layers.{l}.ffn.down."),
        one(_LAYER + "final_layer_norm.", "layers.{l}.ffn_norm."),
    ),
    heads=(
        one("logit_generator.label_embeddings", "unit_embeddings"),
        one("logit_generator.final_proj.", "final_proj."),
    ),
    dropped=(
        Drop("aux.*", "the CTC layer belongs to its own letters"),
        COUNTERS,
    ),
    prefixes=("model.wav2vec2.", "wav2vec2.", "model."),
)

FIELDS: tuple[tuple[str, str], ...] = ()

MUST: dict[str, object] = {}


def recognizes(keys: Collection[str], config: Mapping[str, Any]) -> bool:
    signs = ("encoder.feature_projection.", "encoder.transformer.")
    return any(TABLE.stripped(key).startswith(signs) for key in keys)
