"""The spaces of keyword models that ship; their sizes are those of torch's modules."""

from train.models.bc_resnet import BcResNetConfig
from train.models.causal_keyword_transformer import CausalKeywordTransformerConfig
from train.models.ds_cnn import DsCnnConfig
from train.models.keyword_transformer_config import KeywordTransformerConfig

from .keyword_spaces import Choice, KeywordSpace, Size


def _listed(size: str, *values: tuple[Size, ...]) -> tuple[Choice, ...]:
    return tuple(Choice(size=size, values=these, place=place) for place, these in enumerate(values))


def _transformer(
    embed_dim: tuple[int, ...],
    heads: tuple[int, ...],
    ffn: tuple[int, ...],
    layers: tuple[int, ...],
) -> tuple[Choice, ...]:
    return (
        Choice(size="embed_dim", values=embed_dim),
        Choice(size="num_heads", values=heads),
        Choice(size="ffn_dim", values=ffn),
        Choice(size="num_layers", values=layers),
    )


KEYWORD_SPACES = {
    space.name: space
    for space in (
        # arXiv:2104.00769: KWT-1, KWT-2 and KWT-3, which is the largest, are three of them.
        KeywordSpace(
            name="kwt",
            body="keyword_transformer",
            full=KeywordTransformerConfig(embed_dim=192, num_heads=3, ffn_dim=768),
            choices=_transformer(
                (64, 96, 128, 160, 192),
                (1, 2, 3),
                (256, 384, 512, 640, 768),
                (4, 5, 6, 7, 8, 9, 10, 11, 12),
            ),
        ),
        # Ours: trains in minutes on two cores. Norms and mean are as in keywords-kwt-tiny.
        KeywordSpace(
            name="kwt-tiny",
            body="keyword_transformer",
            full=KeywordTransformerConfig(
                embed_dim=96,
                num_heads=4,
                head_dim=24,
                ffn_dim=256,
                num_layers=5,
                pre_norm=True,
                pool="mean",
            ),
            choices=_transformer(
                (32, 48, 64, 80, 96), (1, 2, 3, 4), (64, 96, 128, 192, 256), (1, 2, 3, 4, 5)
            ),
        ),
        # Runs step by step; the default sizes of its body are one of them.
        KeywordSpace(
            name="kwt-causal",
            body="causal_keyword_transformer",
            full=CausalKeywordTransformerConfig(
                embed_dim=96, num_heads=6, ffn_dim=256, num_layers=6
            ),
            choices=_transformer(
                (32, 48, 64, 80, 96), (2, 3, 4, 5, 6), (64, 96, 128, 192, 256), (2, 3, 4, 5, 6)
            ),
        ),
        # arXiv:1711.07128: the small model is one of them.
        KeywordSpace(
            name="ds-cnn",
            body="ds_cnn",
            full=DsCnnConfig(channels=128, num_blocks=6),
            choices=(
                Choice(size="channels", values=tuple(range(16, 136, 8))),
                Choice(size="num_blocks", values=(1, 2, 3, 4, 5, 6)),
            ),
        ),
        # arXiv:2106.04140: BC-ResNet-1, 1.5, 2 and 3 are four of them.
        KeywordSpace(
            name="bc-resnet",
            body="bc_resnet",
            full=BcResNetConfig(tau=3.0),
            choices=(
                Choice(size="tau", values=(0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)),
                *_listed("num_blocks", (1, 2), (1, 2), (1, 2, 3, 4), (1, 2, 3, 4)),
            ),
        ),
    )
}
"""By name."""
