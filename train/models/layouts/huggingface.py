"""Hugging Face transformers' HubertModel, Wav2Vec2Model and Data2VecAudioModel, and their heads.

A model with a head keeps the encoder under its own name (`hubert.` and the like). transformers
has no head of HuBERT's or data2vec's pretraining, only that of wav2vec 2.0.
"""

from collections.abc import Collection, Mapping
from typing import Any

from ..renames import Drop, Table, one, weight_normed
from .fairseq import COUNTERS

_TASK = "the layer of a task, not of the encoder"

TABLE = Table(
    encoder=(
        one("masked_spec_embed", "mask_embedding"),
        one("feature_extractor.conv_layers.{i}.conv.", "feature_extractor.{i}.conv."),
        one("feature_extractor.conv_layers.{i}.layer_norm.", "feature_extractor.{i}.norm."),
        one("feature_projection.layer_norm.", "feature_norm."),
        one("feature_projection.projection.", "feature_projection."),
        *weight_normed("encoder.pos_conv_embed.conv.", "pos_conv.conv.", new_names=True),
        one("encoder.pos_conv_embed.layers.{i}.conv.", "pos_conv.convs.{i}."),
        one("encoder.layer_norm.", "norm."),
        one("encoder.layers.{l}.attention.", "layers.{l}.attention."),
        one("encoder.layers.{l}.layer_norm.", "layers.{l}.attention_norm."),
        one("encoder.layers.{l}.feed_forward.intermediate_dense.", "layers.{l}.ffn.up."),
        one("encoder.layers.{l}.feed_forward.output_dense.", "layers.{l}.ffn.down."),
        one("encoder.layers.{l}.final_layer_norm.", "layers.{l}.ffn_norm."),
    ),
    heads=(
        one("quantizer.codevectors", "quantizer.codevectors"),
        one("quantizer.weight_proj.", "quantizer.weight_proj."),
        one("project_q.", "project_q."),
        one("project_hid.", "final_proj."),
    ),
    dropped=(
        Drop("lm_head.*", "the CTC layer belongs to its own letters"),
        Drop("classifier.*", _TASK),
        Drop("projector.*", _TASK),
        Drop("layer_weights", _TASK),
        COUNTERS,
    ),
    prefixes=("data2vec_audio.", "wav2vec2.", "hubert."),
)

FIELDS = (
    ("do_stable_layer_norm", "pre_norm"),
    ("preprocessor_config.do_normalize", "normalize_waveform"),
    ("conv_stride", "strides"),
    ("num_hidden_layers", "num_layers"),
    ("hidden_size", "embed_dim"),
    ("intermediate_size", "ffn_dim"),
    ("num_attention_heads", "num_heads"),
    ("hidden_dropout", "dropout"),
    ("attention_dropout", "attention_dropout"),
    ("activation_dropout", "activation_dropout"),
    ("feat_proj_dropout", "input_dropout"),
    ("layerdrop", "layerdrop"),
)

MUST = {
    "model_type": ("hubert", "wav2vec2", "data2vec-audio"),
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False,
    "add_adapter": False,
}


def recognizes(keys: Collection[str], config: Mapping[str, Any]) -> bool:
    signs = ("feature_projection.", "encoder.layers.0.attention.", "encoder.pos_conv_embed.")
    return any(TABLE.stripped(key).startswith(signs) for key in keys)
