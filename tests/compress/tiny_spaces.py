"""Spaces small enough to list, and the plain list of their subnets."""

from collections.abc import Iterator
from itertools import product

from compress.spaces import Space
from compress.subnet import Subnet
from train.models.wav2vec2_config import Conv, Wav2Vec2Config

CONV_CHANNELS = ((1, 3), (2, 3, 5))


def tiny_space(
    num_layers: int = 3, conv_norm: str = "layer", conv_bias: bool = False, elastic: bool = False
) -> Space:
    """Widths 4 and 8, heads 1 and 2, ratios 1.0, 1.5 and 2.5, up to `num_layers` layers.

    `elastic`: of the two convolutions, too.
    """
    return Space(
        name="tiny",
        supernet=Wav2Vec2Config(
            conv_layers=(
                Conv(channels=3, kernel=4, stride=2),
                Conv(channels=5, kernel=3, stride=2),
            ),
            conv_norm=conv_norm,
            conv_bias=conv_bias,
            embed_dim=8,
            num_heads=(3,) * num_layers,
            ffn_dim=(24,) * num_layers,
            head_dim=2,
            pos_conv_kernel=6,
            pos_conv_groups=2,
        ),
        embed_dim=(4, 8),
        num_heads=(1, 2),
        ffn_ratio=(1.0, 1.5, 2.5),
        depth=tuple(range(1, num_layers + 1)),
        conv_channels=CONV_CHANNELS if elastic else (),
    )


def every_subnet(space: Space) -> Iterator[Subnet]:
    """All of them, one by one."""
    extractors = list(product(*space.conv_channels))
    for embed_dim, channels, depth in product(space.embed_dim, extractors, space.depth):
        layer_choices = product(space.num_heads, [int(r * embed_dim) for r in space.ffn_ratio])
        for layers in product(list(layer_choices), repeat=depth):
            heads, widths = zip(*layers, strict=True)
            yield Subnet(
                space=space.name,
                embed_dim=embed_dim,
                num_heads=heads,
                ffn_dim=widths,
                conv_channels=channels,
            )
