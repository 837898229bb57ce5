"""Number of layers: which of the supernet's a shallower subnet keeps."""

from train.models.wav2vec2_config import Wav2Vec2Config

from ._slices import Slices, merge

AXES = ("layer",)


def kept(axis: str, full: Wav2Vec2Config, dense: Wav2Vec2Config, layer: int | None) -> Slices:
    """Keep the layers of `kept_layers`; the axis is the list of layers itself."""
    layers = kept_layers(full.num_layers, dense.num_layers)
    return merge(((index, index + 1) for index in layers), full.num_layers)


def kept_layers(num_layers: int, depth: int) -> tuple[int, ...]:
    """The supernet's layers that a subnet of `depth` keeps, ascending, counted from 0.

    Layers form three equal groups. The last layer of the last group goes first, then that of
    the middle group, then of the first, then the last but one of the last group, and so on.
    The authors list this for 12 layers and depths 6 to 12; here it is one rule for any multiple
    of three. Other numbers of layers form one group, which loses its last layers.

    Args:
        num_layers: layers of the supernet.
        depth: layers of the subnet, in [1, num_layers].

    Raises:
        ValueError: a depth outside that range.
    """
    if not 1 <= depth <= num_layers:
        raise ValueError(f"depth must lie in [1, {num_layers}] layers, got {depth}")
    num_groups = 3 if num_layers % 3 == 0 else 1
    group_size = num_layers // num_groups
    going = [
        (group + 1) * group_size - 1 - step
        for step in range(group_size)
        for group in reversed(range(num_groups))
    ]
    dropped = set(going[: num_layers - depth])
    return tuple(index for index in range(num_layers) if index not in dropped)
