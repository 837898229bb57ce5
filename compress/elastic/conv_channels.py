"""Channels of the feature extractor, layer by layer: the first ones, and what reads them."""

from train.models.wav2vec2_config import Wav2Vec2Config

from ._slices import WHOLE, Slices, prefix

AXES = ("conv_channels", "conv_inputs", "conv_features")


def kept(axis: str, full: Wav2Vec2Config, dense: Wav2Vec2Config, layer: int | None) -> Slices:
    """Keep the first channels: a layer's own, the inputs it has from the one before, or the last's.

    The waveform is the one input of layer 0. Norms run over the channels that are kept, so a
    narrow layer is not the part of a wide one that its first channels are.
    """
    if axis == "conv_features":
        layer = len(full.conv_layers)
    assert layer is not None  # only layers have channels of their own
    source = layer if axis == "conv_channels" else layer - 1
    if source < 0:
        return WHOLE
    return prefix(dense.conv_layers[source].channels, full.conv_layers[source].channels)
