"""Parameters of a dense encoder, in closed form and without a model."""

from train.models.wav2vec2_config import Wav2Vec2Config

from .params import extractor, layer, projection


def encoder_params(config: Wav2Vec2Config) -> int:
    """Count every parameter that `Wav2Vec2Encoder(config)` has, weight norm's gains included."""
    dim = config.embed_dim
    kernel = dim * (dim // config.pos_conv_groups) * config.pos_conv_kernel
    positions = config.pos_conv_depth * (kernel + dim)
    positions += config.pos_conv_kernel * config.pos_conv_weight_norm
    return (
        sum(extractor(config))
        + projection(config)
        + dim * config.mask_embedding
        + positions
        + config.num_heads[0] * config.alibi  # scales of its biases
        + 2 * dim  # norm of the encoder
        + sum(
            layer(config, heads, ffn)
            for heads, ffn in zip(config.num_heads, config.ffn_dim, strict=True)
        )
    )
