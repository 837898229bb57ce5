"""A subnet as a fixed set of genes, so that any two can be crossed whatever their depths.

A keyword model has a gene for each choice of its space. An encoder's layers have genes up to the
greatest depth of the space; those beyond its own depth are carried along unused, and count again
when a descendant is deeper.
"""

from collections.abc import Mapping

import numpy as np

from ..any_space import AnySpace, AnySubnet
from ..keyword_spaces import KeywordSpace, KeywordSubnet
from ..spaces import Space
from ..subnet import Subnet

Gene = int | float


def gene_choices(space: AnySpace) -> dict[str, tuple[Gene, ...]]:
    """Every gene of the space with its alleles; layers are numbered from 0."""
    if isinstance(space, KeywordSpace):
        return {choice.name: choice.values for choice in space.choices}
    choices: dict[str, tuple[Gene, ...]] = {"embed_dim": space.embed_dim, "depth": space.depth}
    for layer in range(space.depth[-1]):
        choices[f"num_heads.{layer:02}"] = space.num_heads
        choices[f"ffn_ratio.{layer:02}"] = space.ffn_ratio
    for layer, channels in enumerate(space.conv_channels):
        choices[f"conv_channels.{layer:02}"] = channels
    return choices


def subnet_from(space: AnySpace, genes: Mapping[str, Gene]) -> AnySubnet:
    """The subnet that these genes make; the layers beyond its depth are not looked at."""
    if isinstance(space, KeywordSpace):
        return space.subnet_of(genes)
    return encoder_from(space, genes)


def encoder_from(space: Space, genes: Mapping[str, Gene]) -> Subnet:
    """The same of a space of encoders."""
    embed_dim, depth = int(genes["embed_dim"]), int(genes["depth"])
    width_of = dict(zip(space.ffn_ratio, space.ffn_dims(embed_dim), strict=True))
    return Subnet(
        space=space.name,
        embed_dim=embed_dim,
        num_heads=tuple(int(genes[f"num_heads.{layer:02}"]) for layer in range(depth)),
        ffn_dim=tuple(width_of[genes[f"ffn_ratio.{layer:02}"]] for layer in range(depth)),
        conv_channels=tuple(
            int(genes[f"conv_channels.{layer:02}"]) for layer in range(len(space.conv_channels))
        ),
    )


def genes_of(space: AnySpace, subnet: AnySubnet, rng: np.random.Generator) -> dict[str, Gene]:
    """Genes that make this subnet; those of the layers it lacks are drawn uniformly."""
    if isinstance(space, KeywordSpace):
        assert isinstance(subnet, KeywordSubnet), "the subnet is of the space"
        names = (choice.name for choice in space.choices)
        return dict(zip(names, space.values_of(subnet), strict=True))
    assert isinstance(subnet, Subnet), "the subnet is of the space"
    ratio_of = dict(zip(space.ffn_dims(subnet.embed_dim), space.ffn_ratio, strict=True))
    genes: dict[str, Gene] = {
        name: alleles[rng.integers(len(alleles))] for name, alleles in gene_choices(space).items()
    }
    genes |= {"embed_dim": subnet.embed_dim, "depth": subnet.depth}
    for layer, (heads, ffn) in enumerate(zip(subnet.num_heads, subnet.ffn_dim, strict=True)):
        genes[f"num_heads.{layer:02}"] = heads
        genes[f"ffn_ratio.{layer:02}"] = ratio_of[ffn]
    for layer, channels in enumerate(subnet.conv_channels):
        genes[f"conv_channels.{layer:02}"] = channels
    return genes
