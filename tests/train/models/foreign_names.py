"""Names and shapes of other toolkits' checkpoints, written out apart from our tables."""

from dataclasses import dataclass

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sizes:
    """Of a model of the family; Base unless said otherwise."""

    embed_dim: int = 768
    ffn_dim: int = 3072
    num_layers: int = 12
    num_heads: int = 12
    channels: int = 512
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    layered: bool = False
    conv_bias: bool = False
    pos_kernel: int = 128
    pos_groups: int = 16
    pos_depth: int = 1
    final_dim: int = 256
    units: int = 504
    codes: int = 640
    prenet: int = 0

    @property
    def group(self) -> int:
        return self.embed_dim // self.pos_groups


LARGE = {"embed_dim": 1024, "ffn_dim": 4096, "num_layers": 24, "num_heads": 16, "final_dim": 768}
STACK = {"layered": True, "pos_kernel": 19, "pos_depth": 5}
TINY = {
    "embed_dim": 8, "ffn_dim": 12, "num_layers": 2, "num_heads": 2, "channels": 6,
    "kernels": (3, 2), "pos_groups": 2, "final_dim": 4, "units": 7, "codes": 10,
}  # fmt: skip
TINY_POSITIONS = {"pos_kernel": 5}


def linear(name: str, wide: int, out: int) -> Shapes:
    return {f"{name}.weight": (out, wide), f"{name}.bias": (out,)}


def norm(name: str, wide: int) -> Shapes:
    return {f"{name}.weight": (wide,), f"{name}.bias": (wide,)}


def extractor(sizes: Sizes, start: str, conv: str, layer: str, group: str) -> Shapes:
    """The convolutions; `conv`, `layer` and `group` are what follows a convolution's number."""
    shapes: Shapes = {}
    for index, kernel in enumerate(sizes.kernels):
        wide = sizes.channels if index else 1
        shapes[f"{start}.{index}.{conv}.weight"] = (sizes.channels, wide, kernel)
        if sizes.conv_bias:
            shapes[f"{start}.{index}.{conv}.bias"] = (sizes.channels,)
        if sizes.layered or not index:
            name = layer if sizes.layered else group
            shapes |= norm(f"{start}.{index}.{name}", sizes.channels)
    return shapes


def positions(sizes: Sizes, single: str, stacked: str) -> Shapes:
    shapes: Shapes = {}
    weight = (sizes.embed_dim, sizes.group, sizes.pos_kernel)
    if sizes.pos_depth > 1:
        for index in range(sizes.pos_depth):
            name = stacked.format(index)
            shapes |= {f"{name}.weight": weight, f"{name}.bias": (sizes.embed_dim,)}
        return shapes
    return {
        f"{single}.weight_g": (1, 1, sizes.pos_kernel),
        f"{single}.weight_v": weight,
        f"{single}.bias": (sizes.embed_dim,),
    }


def fairseq(sizes: Sizes) -> Shapes:
    wide = sizes.embed_dim
    shapes: Shapes = {"mask_emb": (wide,)}
    shapes |= extractor(sizes, "feature_extractor.conv_layers", "0", "2.1", "2")
    shapes |= norm("layer_norm", sizes.channels)
    shapes |= linear("post_extract_proj", sizes.channels, wide)
    shapes |= positions(sizes, "encoder.pos_conv.0", "encoder.pos_conv.{}.0")
    shapes |= norm("encoder.layer_norm", wide)
    for index in range(sizes.num_layers):
        layer = f"encoder.layers.{index}."
        for part in "k_proj", "v_proj", "q_proj", "out_proj":
            shapes |= linear(f"{layer}self_attn.{part}", wide, wide)
        shapes |= norm(f"{layer}self_attn_layer_norm", wide)
        shapes |= linear(f"{layer}fc1", wide, sizes.ffn_dim)
        shapes |= linear(f"{layer}fc2", sizes.ffn_dim, wide)
        shapes |= norm(f"{layer}final_layer_norm", wide)
    return shapes


def hubert_heads(sizes: Sizes) -> Shapes:
    return {
        "label_embs_concat": (sizes.units, sizes.final_dim),
        **linear("final_proj", sizes.embed_dim, sizes.final_dim),
    }


def wav2vec2_heads(sizes: Sizes, *, codes: str, final: str) -> Shapes:
    return {
        codes: (1, sizes.codes, sizes.final_dim // 2),
        **linear("quantizer.weight_proj", sizes.channels, sizes.codes),
        **linear("project_q", sizes.final_dim, sizes.final_dim),
        **linear(final, sizes.embed_dim, sizes.final_dim),
    }


def prefixed(start: str, shapes: Shapes) -> Shapes:
    return {start + name: shape for name, shape in shapes.items()}


def transformer(sizes: Sizes, start: str) -> Shapes:
    """As transformers and torchaudio both have it."""
    wide = sizes.embed_dim
    shapes = norm(f"{start}layer_norm", wide)
    shapes |= positions(
        sizes, f"{start}pos_conv_embed.conv", start + "pos_conv_embed.layers.{}.conv"
    )
    for index in range(sizes.num_layers):
        layer = f"{start}layers.{index}."
        for part in "k_proj", "v_proj", "q_proj", "out_proj":
            shapes |= linear(f"{layer}attention.{part}", wide, wide)
        shapes |= norm(f"{layer}layer_norm", wide)
        shapes |= linear(f"{layer}feed_forward.intermediate_dense", wide, sizes.ffn_dim)
        shapes |= linear(f"{layer}feed_forward.output_dense", sizes.ffn_dim, wide)
        shapes |= norm(f"{layer}final_layer_norm", wide)
    return shapes


def huggingface(sizes: Sizes) -> Shapes:
    return {
        "masked_spec_embed": (sizes.embed_dim,),
        **extractor(sizes, "feature_extractor.conv_layers", "conv", "layer_norm", "layer_norm"),
        **norm("feature_projection.layer_norm", sizes.channels),
        **linear("feature_projection.projection", sizes.channels, sizes.embed_dim),
        **transformer(sizes, "encoder."),
    }


def torchaudio(sizes: Sizes) -> Shapes:
    return {
        **extractor(sizes, "feature_extractor.conv_layers", "conv", "layer_norm", "layer_norm"),
        **norm("encoder.feature_projection.layer_norm", sizes.channels),
        **linear("encoder.feature_projection.projection", sizes.channels, sizes.embed_dim),
        **transformer(sizes, "encoder.transformer."),
    }


def torchaudio_pretraining(sizes: Sizes) -> Shapes:
    return {
        **prefixed("wav2vec2.", torchaudio(sizes)),
        "mask_generator.mask_embedding": (sizes.embed_dim,),
        "logit_generator.label_embeddings": (sizes.units, sizes.final_dim),
        **linear("logit_generator.final_proj", sizes.embed_dim, sizes.final_dim),
    }


def data2vec2(sizes: Sizes) -> Shapes:
    wide, audio = sizes.embed_dim, "modality_encoders.AUDIO."
    shapes: Shapes = {f"{audio}alibi_scale": (1, 1, sizes.num_heads, 1, 1)}
    shapes |= extractor(sizes, f"{audio}local_encoder.conv_layers", "0", "2.1", "2")
    shapes |= norm(f"{audio}project_features.1", sizes.channels)
    shapes |= linear(f"{audio}project_features.2", sizes.channels, wide)
    for index in range(sizes.pos_depth):
        name = f"{audio}relative_positional_encoder.{index + 1}.0"
        shapes |= {f"{name}.weight": (wide, sizes.group, sizes.pos_kernel), f"{name}.bias": (wide,)}
    shapes |= norm(f"{audio}context_encoder.norm", wide)
    for index in range(sizes.num_layers):
        block = f"blocks.{index - sizes.prenet}."
        if index < sizes.prenet:
            block = f"{audio}context_encoder.blocks.{index}."
        shapes |= norm(f"{block}norm1", wide) | norm(f"{block}norm2", wide)
        shapes |= linear(f"{block}attn.qkv", wide, 3 * wide)
        shapes |= linear(f"{block}attn.proj", wide, wide)
        shapes |= linear(f"{block}mlp.fc1", wide, sizes.ffn_dim)
        shapes |= linear(f"{block}mlp.fc2", sizes.ffn_dim, wide)
    return shapes


def data2vec2_decoder(sizes: Sizes, wide: int, depth: int) -> Shapes:
    start, shapes = "modality_encoders.AUDIO.decoder.", {}
    for index in range(depth):
        inner = wide if index else sizes.embed_dim
        shapes[f"{start}blocks.{index}.0.weight"] = (wide, inner // sizes.pos_groups, 7)
        shapes[f"{start}blocks.{index}.0.bias"] = (wide,)
    return shapes | linear(f"{start}proj", wide, sizes.embed_dim)


EMA: Shapes = {"_ema.layers.0.fc1.weight": (3072, 768)}


def fairseq_wav2vec2(sizes: Sizes) -> Shapes:
    heads = wav2vec2_heads(sizes, codes="quantizer.vars", final="final_proj")
    return fairseq(sizes) | heads


def data2vec2_pretraining(sizes: Sizes) -> Shapes:
    wide = 384 if sizes.embed_dim == 768 else 768
    return data2vec2(sizes) | data2vec2_decoder(sizes, wide, 4) | EMA


def huggingface_pretraining(sizes: Sizes) -> Shapes:
    heads = wav2vec2_heads(sizes, codes="quantizer.codevectors", final="project_hid")
    return prefixed("wav2vec2.", huggingface(sizes)) | heads


TINIES: dict[str, Shapes] = {
    "fairseq hubert": fairseq(Sizes(**TINY, **TINY_POSITIONS)) | hubert_heads(Sizes(**TINY)),
    "fairseq wav2vec2": fairseq_wav2vec2(
        Sizes(**TINY, **TINY_POSITIONS, layered=True, conv_bias=True)
    ),
    "fairseq data2vec": fairseq(Sizes(**TINY, layered=True, pos_depth=2, pos_kernel=3))
    | linear("final_proj.0", 8, 8),
    "huggingface": huggingface_pretraining(Sizes(**TINY, **TINY_POSITIONS)),
    "torchaudio": torchaudio_pretraining(Sizes(**TINY, **TINY_POSITIONS, layered=True)),
    "lighthubert": fairseq(Sizes(**TINY, **TINY_POSITIONS, layered=True))
    | {"layer_pred_heads.1.weight": (8, 8)},
    "data2vec2": data2vec2(Sizes(**TINY, layered=True, pos_depth=2, pos_kernel=3, prenet=1))
    | data2vec2_decoder(Sizes(**TINY), 4, 2),
}

GIVEN = {"given": {"num_heads": 2, "strides": [2, 2]}}


def filled(shapes: Shapes) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
