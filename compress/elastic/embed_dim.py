"""Width of the transformer: the first units, everywhere the residual stream passes."""

from train.models.wav2vec2_config import Wav2Vec2Config

from ._slices import Slices, prefix

AXES = ("embed_dim", "embed_dim_per_group")


def kept(axis: str, full: Wav2Vec2Config, dense: Wav2Vec2Config, layer: int | None) -> Slices:
    """Keep the first units, and the first inputs of each group of the position convolution.

    The number of groups stays, so a unit's group differs between the subnet and the full model,
    as in the authors' code.
    """
    if axis == "embed_dim_per_group":
        groups = full.pos_conv_groups
        return prefix(dense.embed_dim // groups, full.embed_dim // groups)
    return prefix(dense.embed_dim, full.embed_dim)
