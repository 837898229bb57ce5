"""Multiply-accumulates of an encoder, in closed form and without a model.

What a budget limits is the count for one second of audio.

Norms, activations and softmax are left out, as in published tables; attention's two products of
frames with frames are counted, and so is the convolution that gives positions. Of an encoder that
streams, what a stream computes is counted, chunk by chunk.
"""

from dataclasses import dataclass

from train.models.wav2vec2_config import Wav2Vec2Config

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one pass over one utterance, by part."""

    extractor: int
    """Convolutional feature extractor."""
    projection: int
    """From its channels to the transformer's width."""
    positions: int
    """Convolutional position embedding."""
    layers: int
    """Transformer layers, attention included."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.extractor + self.projection + self.context

    @property
    def context(self) -> int:
        """Positions and layers: what data2vec's teachers are copies of."""
        return self.positions + self.layers


def macs(
    config: Wav2Vec2Config, num_samples: int = SAMPLE_RATE, *, shown_ratio: float = 1.0
) -> Macs:
    """Count one pass.

    Args:
        config: the encoder's sizes.
        num_samples: of the utterance; attention makes long ones dearer per second.
        shown_ratio: share of frames that the layers see, in (0, 1]; data2vec 2.0 shows half.

    Raises:
        ValueError: an utterance too short for a frame.
    """
    frames = config.num_frames(num_samples)
    if frames < 1:
        raise ValueError(f"num_samples must hold a frame or more, got {num_samples}")
    channels, shown = config.conv_layers[-1].channels, round(shown_ratio * frames)
    width_of_group = config.embed_dim // config.pos_conv_groups
    return Macs(
        extractor=sum(extractor(config, num_samples)),
        projection=frames * channels * config.embed_dim,
        positions=frames
        * config.embed_dim
        * width_of_group
        * _position_taps(config)
        * config.pos_conv_depth,
        layers=sum(
            layer_macs(
                config.embed_dim,
                heads,
                ffn,
                config.head_dim,
                num_frames=shown,
                num_keys=_keys(config, shown),
            )
            for heads, ffn in zip(config.num_heads, config.ffn_dim, strict=True)
        ),
    )


def rest(full: Wav2Vec2Config, dense: Wav2Vec2Config) -> int:
    """Count all but the transformer's layers, for a second of audio."""
    counted = macs(dense)
    return counted.total - counted.layers


def layer(dense: Wav2Vec2Config, heads: int, ffn: int) -> int:
    """Count one transformer layer, for a second of audio."""
    frames = dense.num_frames(SAMPLE_RATE)
    keys = _keys(dense, frames)
    return layer_macs(dense.embed_dim, heads, ffn, dense.head_dim, num_frames=frames, num_keys=keys)


def _keys(config: Wav2Vec2Config, frames: int) -> int:
    """Frames that a frame's attention looks at, of `frames` in all."""
    if config.streaming is None:
        return frames
    return config.streaming.left_frames + config.streaming.chunk_frames


def _position_taps(config: Wav2Vec2Config) -> int:
    """Taps of a position convolution that are computed for a frame."""
    if config.streaming is None:
        return config.pos_conv_kernel
    past = config.pos_conv_kernel // 2 + 1
    return past + min(config.pos_conv_kernel - past, config.streaming.look_ahead_frames)


def layer_macs(
    embed_dim: int,
    heads: int,
    ffn: int,
    head_dim: int,
    *,
    num_frames: int,
    num_keys: int | None = None,
) -> int:
    """Count one transformer layer: four projections, attention, feed-forward.

    Args:
        embed_dim: width of the residual stream.
        heads: attention heads.
        ffn: hidden width of the feed-forward block.
        head_dim: width of one head.
        num_frames: frames of the utterance.
        num_keys: frames that each of them looks at; None: all.
    """
    attention = heads * head_dim
    by_frame = 4 * embed_dim * attention + 2 * embed_dim * ffn
    keys = num_frames if num_keys is None else num_keys
    return num_frames * by_frame + 2 * num_frames * keys * attention


def extractor(config: Wav2Vec2Config, num_samples: int = SAMPLE_RATE) -> tuple[int, ...]:
    """Count each layer of the convolutional feature extractor, first layer first."""
    counted, length, num_inputs = [], num_samples, 1
    for conv in config.conv_layers:
        # A stream has what a kernel reaches back for: the tail of the piece before, or silence.
        reach = conv.kernel if config.streaming is None else conv.stride
        length = (length - reach) // conv.stride + 1
        counted.append(length * conv.kernel * num_inputs * conv.channels)
        num_inputs = conv.channels
    return tuple(counted)
