"""fairseq's data2vec_multi, data2vec 2.0, for audio; pretrained or fine-tuned with CTC.

Query, key and value are one projection. The Large model runs some layers in its context encoder
before the others: to us they are one row of layers.
"""

from collections.abc import Collection, Mapping
from typing import Any

from ..renames import Drop, Rule, Split, Table, Vector, one
from .fairseq import COUNTERS, PLACES

_AUDIO = "modality_encoders.AUDIO."
_PRENET = _AUDIO + "context_encoder.blocks.{l}."


def _block(theirs: str, after: str | None = None) -> tuple[Rule, ...]:
    parts = (
        ("norm1.", "attention_norm."),
        ("norm2.", "ffn_norm."),
        ("attn.proj.", "attention.out_proj."),
        ("mlp.fc1.", "ffn.up."),
        ("mlp.fc2.", "ffn.down."),
    )
    renames = (
        Rule(theirs=theirs + part, ours=("layers.{l}." + ours,), after=after)
        for part, ours in parts
    )
    fused = tuple(f"layers.{{l}}.attention.{part}_proj." for part in "qkv")
    return (*renames, Split(theirs=theirs + "attn.qkv.", ours=fused, after=after))


TABLE = Table(
    encoder=(
        one(_AUDIO + "local_encoder.conv_layers.{i}.0.", "feature_extractor.{i}.conv."),
        one(_AUDIO + "local_encoder.conv_layers.{i}.2.1.", "feature_extractor.{i}.norm."),
        one(_AUDIO + "project_features.1.", "feature_norm."),
        one(_AUDIO + "project_features.2.", "feature_projection."),
        one(_AUDIO + "relative_positional_encoder.{i+1}.0.", "pos_conv.convs.{i}."),
        one(_AUDIO + "context_encoder.norm.", "norm."),
        # Older files lack the first axis.
        Vector(theirs=_AUDIO + "alibi_scale", ours=("alibi.scale",),
               theirs_shape=(1, 1, -1, 1, 1), ours_shape=(-1,)),
        *_block("blocks.{l}.", after=_PRENET),
        *_block(_PRENET),
    ),
    heads=(
        one(_AUDIO + "decoder.blocks.{i}.0.", "decoder.convs.{i}."),
        one(_AUDIO + "decoder.proj.", "decoder.proj."),
    ),
    dropped=(
        Drop("_ema.*", "the averaged teacher starts from the student again"),
        Drop("w2v_encoder.proj.*", "the CTC layer belongs to its own letters"),
        COUNTERS,
    ),
    needed=("alibi.scale",),
    prefixes=("w2v_encoder.w2v_model.",),
)  # fmt: skip

_TOLD = (
    ("layer_norm_first", "pre_norm"),
    ("normalize", "normalize_waveform"),
    ("modalities.audio.feature_encoder_spec", "conv_layers"),
    ("embed_dim", "embed_dim"),
    ("modalities.audio.conv_pos_depth", "pos_conv_depth"),
    ("num_heads", "num_heads"),
    ("encoder_dropout", "dropout"),
    ("attention_dropout", "attention_dropout"),
    ("activation_dropout", "activation_dropout"),
    ("dropout_input", "input_dropout"),
    ("layerdrop", "layerdrop"),
)

FIELDS = tuple((place + theirs, ours) for theirs, ours in _TOLD for place in PLACES)

MUST = {
    f"{place}{key}": value
    for place in PLACES
    for key, value in (("norm_eps", 1e-5), ("layer_norm_first", False))
}


def recognizes(keys: Collection[str], config: Mapping[str, Any]) -> bool:
    return any(TABLE.stripped(key).startswith(_AUDIO) for key in keys)
