"""Parameters of a subnet, in closed form and without a model."""

from train.models.wav2vec2_config import Wav2Vec2Config

from ..spaces import Space
from ..subnet import Subnet


def params(space: Space, subnet: Subnet) -> int:
    """Count a subnet's parameters as LightHuBERT's authors do, prediction heads excluded.

    They count the mask embedding at the supernet's width, and not weight normalization's gains.
    The materialized dense model cuts its mask embedding, so it has
    `space.supernet.embed_dim - subnet.embed_dim` parameters fewer than this.

    Raises:
        SubnetError: the subnet is not of this space.

    Source: the released code's counter; equal to the sizes printed in arXiv:2203.15610.
    """
    space.check(subnet)
    head_dim = space.supernet.head_dim
    return fixed_params(space, subnet.embed_dim) + sum(
        layer_params(subnet.embed_dim, heads, ffn, head_dim)
        for heads, ffn in zip(subnet.num_heads, subnet.ffn_dim, strict=True)
    )


def fixed_params(space: Space, embed_dim: int) -> int:
    """Count all but the transformer's layers, for a subnet of this width."""
    full = space.supernet
    channels = full.conv_layers[-1].channels
    pos_conv = embed_dim * (embed_dim // full.pos_conv_groups) * full.pos_conv_kernel + embed_dim
    return (
        feature_extractor_params(full)
        + full.embed_dim  # mask embedding, not cut
        + 2 * channels  # norm of the features
        + (channels + 1) * embed_dim  # their projection
        + pos_conv
        + 2 * embed_dim  # norm of the encoder
    )


def layer_params(embed_dim: int, heads: int, ffn: int, head_dim: int) -> int:
    """Count one transformer layer: attention, two norms, feed-forward, all with biases.

    Args:
        embed_dim: width of the residual stream.
        heads: attention heads.
        ffn: hidden width of the feed-forward block.
        head_dim: width of one head.
    """
    attention = heads * head_dim
    return (
        3 * (embed_dim + 1) * attention
        + (attention + 1) * embed_dim
        + 4 * embed_dim
        + (embed_dim + 1) * ffn
        + (ffn + 1) * embed_dim
    )


def feature_extractor_params(config: Wav2Vec2Config) -> int:
    """Count the convolutional feature extractor: weights, biases and norms."""
    total, num_inputs = 0, 1
    for index, conv in enumerate(config.conv_layers):
        total += num_inputs * conv.channels * conv.kernel
        total += conv.channels * config.conv_bias
        if config.conv_norm == "layer" or index == 0:
            total += 2 * conv.channels
        num_inputs = conv.channels
    return total
