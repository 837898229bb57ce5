"""Parameters of a subnet, in closed form and without a model.

Counted as LightHuBERT's authors do, prediction heads excluded: the mask embedding at the
supernet's width, and not weight normalization's gains. The materialized dense model cuts its mask
embedding, so it has `full.embed_dim - dense.embed_dim` parameters fewer than this.

Source: the released code's counter; equal to the sizes printed in arXiv:2203.15610.
"""

import sys
from typing import cast

from train.models.wav2vec2_config import Wav2Vec2Config

from ..spaces import Space
from ..subnet import Subnet
from . import Cost, total


def params(space: Space, subnet: Subnet) -> int:
    """Count a subnet's parameters.

    Raises:
        SubnetError: the subnet is not of this space.
    """
    return total(cast(Cost, sys.modules[__name__]), space, subnet)


def rest(full: Wav2Vec2Config, dense: Wav2Vec2Config) -> int:
    """Count all but the transformer's layers."""
    return (
        sum(extractor(dense))
        + full.embed_dim  # mask embedding, not cut
        + projection(dense)
        + positions(dense)
    )


def projection(config: Wav2Vec2Config) -> int:
    """Count the norm of the conv features and their projection to the transformer's width."""
    channels = config.conv_layers[-1].channels
    return 2 * channels + (channels + 1) * config.embed_dim


def positions(config: Wav2Vec2Config) -> int:
    """Count the convolution that gives positions, and the encoder's norm."""
    embed_dim = config.embed_dim
    kernel = (embed_dim // config.pos_conv_groups) * config.pos_conv_kernel
    return embed_dim * kernel + embed_dim + 2 * embed_dim


def layer(dense: Wav2Vec2Config, heads: int, ffn: int) -> int:
    """Count one transformer layer: attention, two norms, feed-forward, all with biases."""
    embed_dim, attention = dense.embed_dim, heads * dense.head_dim
    return (
        3 * (embed_dim + 1) * attention
        + (attention + 1) * embed_dim
        + 4 * embed_dim
        + (embed_dim + 1) * ffn
        + (ffn + 1) * embed_dim
    )


def extractor(config: Wav2Vec2Config) -> tuple[int, ...]:
    """Count each layer of the convolutional feature extractor, its norm included."""
    counted, num_inputs = [], 1
    for index, conv in enumerate(config.conv_layers):
        weights = num_inputs * conv.channels * conv.kernel
        bias = conv.channels * config.conv_bias
        norm = 2 * conv.channels * (config.conv_norm == "layer" or index == 0)
        counted.append(weights + bias + norm)
        num_inputs = conv.channels
    return tuple(counted)
