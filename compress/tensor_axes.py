"""What each axis of the dense encoder's tensors stands for.

An axis kind is what an elastic dimension claims in its `AXES`; nobody cuts a `fixed` axis.
`{i}` is a layer of the feature extractor, `{l}` a transformer layer.
"""

from train.models.wav2vec2_config import Wav2Vec2Config

FIXED = "fixed"

_LAYER = {
    "attention.q_proj.weight": ("attention", "embed_dim"),
    "attention.q_proj.bias": ("attention",),
    "attention.k_proj.weight": ("attention", "embed_dim"),
    "attention.k_proj.bias": ("attention",),
    "attention.v_proj.weight": ("attention", "embed_dim"),
    "attention.v_proj.bias": ("attention",),
    "attention.out_proj.weight": ("embed_dim", "attention"),
    "attention.out_proj.bias": ("embed_dim",),
    "attention_norm.weight": ("embed_dim",),
    "attention_norm.bias": ("embed_dim",),
    "ffn.up.weight": ("ffn_dim", "embed_dim"),
    "ffn.up.bias": ("ffn_dim",),
    "ffn.down.weight": ("embed_dim", "ffn_dim"),
    "ffn.down.bias": ("embed_dim",),
    "ffn_norm.weight": ("embed_dim",),
    "ffn_norm.bias": ("embed_dim",),
}

TENSOR_AXES: dict[str, tuple[str, ...]] = {
    "mask_embedding": ("embed_dim",),
    "feature_extractor.{i}.conv.weight": ("conv_channels", "conv_inputs", FIXED),
    "feature_extractor.{i}.conv.bias": ("conv_channels",),
    "feature_extractor.{i}.norm.weight": ("conv_channels",),
    "feature_extractor.{i}.norm.bias": ("conv_channels",),
    "feature_norm.weight": ("conv_features",),
    "feature_norm.bias": ("conv_features",),
    "feature_projection.weight": ("embed_dim", "conv_features"),
    "feature_projection.bias": ("embed_dim",),
    # Weight normalization is folded on the full tensor before it is cut, as the authors do.
    "pos_conv.conv.weight": ("embed_dim", "embed_dim_per_group", FIXED),
    "pos_conv.conv.bias": ("embed_dim",),
    "norm.weight": ("embed_dim",),
    "norm.bias": ("embed_dim",),
    **{f"layers.{{l}}.{name}": axes for name, axes in _LAYER.items()},
}
"""Tensor name pattern to the kind of each axis, outermost first."""


def tensor_names(config: Wav2Vec2Config) -> tuple[tuple[str, int | None], ...]:
    """Patterns that this encoder has, each with its index: (pattern, index or None)."""
    names: list[tuple[str, int | None]] = []
    for pattern in TENSOR_AXES:
        if "{l}" in pattern:
            names += [(pattern, layer) for layer in range(config.num_layers)]
        elif "{i}" in pattern:
            if pattern.endswith("conv.bias") and not config.conv_bias:
                continue
            grouped = ".norm." in pattern and config.conv_norm == "group"
            num_convs = 1 if grouped else len(config.conv_layers)
            names += [(pattern, conv) for conv in range(num_convs)]
        else:
            names.append((pattern, None))
    return tuple(names)
