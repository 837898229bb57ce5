"""Hidden width of a feed-forward block: the first units of each block as wide as the supernet."""

from train.models.wav2vec2_config import Wav2Vec2Config

from . import depth
from ._slices import Slices, merge

AXES = ("ffn_dim",)


def kept(axis: str, full: Wav2Vec2Config, dense: Wav2Vec2Config, layer: int | None) -> Slices:
    """Keep `embed_dim` units of each whole block, then what remains from the next.

    The stored axis is read as blocks of the supernet's `embed_dim`. With r = ffn_dim / embed_dim
    the subnet takes its `embed_dim` first units of each of the first floor(r) blocks and the
    first (r - floor(r)) * embed_dim of the next one.
    """
    assert layer is not None  # only layers have a feed-forward axis
    source = depth.kept_layers(full.num_layers, dense.num_layers)[layer]
    num_whole, remainder = divmod(dense.ffn_dim[layer], dense.embed_dim)
    widths = [dense.embed_dim] * num_whole + [remainder]
    starts = (block * full.embed_dim for block in range(len(widths)))
    return merge(
        ((start, start + width) for start, width in zip(starts, widths, strict=True)),
        full.ffn_dim[source],
    )
