"""fairseq's wav2vec2, hubert and data2vec_audio, pretrained or fine-tuned with CTC.

A fine-tuned file keeps the encoder under `w2v_encoder.w2v_model.` and the letters' layer beside it.
HuBERT's label table starts with four symbols of fairseq's dictionary; no frame is labelled so.
"""

from collections.abc import Collection, Mapping
from typing import Any

from ..renames import Drop, Rows, Rule, Table, one, weight_normed

PREFIXES = ("w2v_encoder.w2v_model.",)

ENCODER: tuple[Rule, ...] = (
    one("mask_emb", "mask_embedding"),
    one("feature_extractor.conv_layers.{i}.0.", "feature_extractor.{i}.conv."),
    one("feature_extractor.conv_layers.{i}.2.1.", "feature_extractor.{i}.norm.",
        only=("conv_norm", "layer")),
    one("feature_extractor.conv_layers.0.2.weight", "feature_extractor.0.norm.weight"),
    one("feature_extractor.conv_layers.0.2.bias", "feature_extractor.0.norm.bias"),
    one("layer_norm.", "feature_norm."),
    one("post_extract_proj.", "feature_projection."),
    *weight_normed("encoder.pos_conv.0.", "pos_conv.conv.", new_names=False),
    one("encoder.pos_conv.{i}.0.", "pos_conv.convs.{i}."),
    one("encoder.layer_norm.", "norm."),
    one("encoder.layers.{l}.self_attn.", "layers.{l}.attention."),
    one("encoder.layers.{l}.self_attn_layer_norm.", "layers.{l}.attention_norm."),
    one("encoder.layers.{l}.fc1.", "layers.{l}.ffn.up."),
    one("encoder.layers.{l}.fc2.", "layers.{l}.ffn.down."),
    one("encoder.layers.{l}.final_layer_norm.", "layers.{l}.ffn_norm."),
)  # fmt: skip

COUNTERS = Drop("*num_batches_tracked", "a batch norm's counter is no weight")

TABLE = Table(
    encoder=ENCODER,
    heads=(
        one("quantizer.vars", "quantizer.codevectors"),
        one("quantizer.weight_proj.", "quantizer.weight_proj."),
        one("project_q.", "project_q."),
        Rows(theirs="label_embs_concat", ours=("unit_embeddings",), skip=4, heights=(104, 504),
             why="the first 4 rows are symbols of fairseq's dictionary, which no frame has"),
        one("final_proj.weight", "final_proj.weight"),
        one("final_proj.bias", "final_proj.bias"),
        one("final_proj.0.weight", "final_proj.weight"),  # the released data2vec Base
        one("final_proj.0.bias", "final_proj.bias"),
    ),
    dropped=(
        Drop("_ema.*", "the averaged teacher starts from the student again"),
        Drop("w2v_encoder.proj.*", "the CTC layer belongs to its own letters"),
        COUNTERS,
    ),
    needed=("mask_embedding",),
    prefixes=PREFIXES,
)  # fmt: skip

_TOLD = (
    ("layer_norm_first", "pre_norm"),
    ("normalize", "normalize_waveform"),
    ("conv_feature_layers", "conv_layers"),
    ("encoder_layers", "num_layers"),
    ("pos_conv_depth", "pos_conv_depth"),
    ("encoder_embed_dim", "embed_dim"),
    ("encoder_ffn_embed_dim", "ffn_dim"),
    ("encoder_attention_heads", "num_heads"),
    ("dropout", "dropout"),
    ("attention_dropout", "attention_dropout"),
    ("activation_dropout", "activation_dropout"),
    ("dropout_input", "input_dropout"),
    ("encoder_layerdrop", "layerdrop"),
    ("feature_grad_mult", "feature_grad_mult"),
)

PLACES = (
    "model.w2v_args.model.", "model.w2v_args.task.", "model.w2v_args.", "model.", "task.", "",
)  # fmt: skip
"""Where a value may stand, what the encoder was pretrained with first; the last is `args`."""

FIELDS = tuple((place + theirs, ours) for theirs, ours in _TOLD for place in PLACES)

MUST = {f"{place}activation_fn": "gelu" for place in PLACES} | {
    f"{place}layer_type": "transformer" for place in PLACES
}


def is_fairseq(keys: Collection[str]) -> bool:
    """Whether these are names of fairseq's encoder, the student of LightHuBERT included."""
    signs = ("post_extract_proj.", "encoder.layers.0.self_attn.", "encoder.pos_conv.0.")
    return any(key.removeprefix(PREFIXES[0]).startswith(signs) for key in keys)


def recognizes(keys: Collection[str], config: Mapping[str, Any]) -> bool:
    from . import lighthubert

    return is_fairseq(keys) and not lighthubert.recognizes(keys, config)
