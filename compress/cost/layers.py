"""A subnet layer by layer: what each part of it costs, in closed form and without a model."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..spaces import Space
from ..subnet import Subnet
from . import macs, params


@dataclass(frozen=True)
class LayerCost:
    """One part of a subnet; the parts of a subnet add up to it."""

    name: str
    """`conv 1`, `projection`, `mask embedding`, `positions`, `layer 1` and so on, from 1."""
    sizes: dict[str, int]
    """What was chosen or follows from a choice, such as heads and ffn_dim."""
    params: int
    """As `cost.params` counts, norms and biases included."""
    macs: int
    """Multiply-accumulates for a second of audio, as `cost.macs` counts."""


def layer_costs(space: Space, subnet: Subnet) -> tuple[LayerCost, ...]:
    """Split a subnet's parameters and multiply-accumulates over its layers, in audio's order.

    Returns:
        parts whose `params` add up to `params.params(space, subnet)` and whose `macs` add up to
        `macs.macs(space.config(subnet)).total`. The mask embedding is a part at the supernet's
        width, as the authors count it; a materialized model holds `embed_dim` of it.

    Raises:
        SubnetError: the subnet is not of this space.
    """
    return tuple(_parts(space, subnet))


def _parts(space: Space, subnet: Subnet) -> Iterator[LayerCost]:
    config = space.config(subnet)
    counted = macs.macs(config)
    convs = zip(config.conv_layers, params.extractor(config), macs.extractor(config), strict=True)
    for number, (conv, weights, products) in enumerate(convs, 1):
        sizes = {"channels": conv.channels, "kernel": conv.kernel, "stride": conv.stride}
        yield LayerCost(f"conv {number}", sizes, weights, products)
    sizes = {"channels": config.conv_layers[-1].channels, "embed_dim": config.embed_dim}
    yield LayerCost("projection", sizes, params.projection(config), counted.projection)
    mask_dim = space.supernet.embed_dim
    yield LayerCost("mask embedding", {"embed_dim": mask_dim}, mask_dim, 0)
    sizes = {
        "embed_dim": config.embed_dim,
        "kernel": config.pos_conv_kernel,
        "groups": config.pos_conv_groups,
    }
    yield LayerCost("positions", sizes, params.positions(config), counted.positions)
    for number, (heads, ffn) in enumerate(zip(config.num_heads, config.ffn_dim, strict=True), 1):
        yield LayerCost(
            f"layer {number}",
            {"heads": heads, "ffn_dim": ffn},
            params.layer(config, heads, ffn),
            macs.layer(config, heads, ffn),
        )
