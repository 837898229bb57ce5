"""What subnets have in common on the same audio, computed once.

A subnet's feature extractor depends on its channels alone, and its first layers on theirs alone.
Where the extractor is not elastic, all subnets share it whole. It is most of a small model's work.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from train.data.batches import Batch
from train.models.wav2vec2 import (
    EncoderOutput,
    Wav2Vec2Encoder,
    normalize_waveform,
)

from ..subnet import Subnet
from ..supernet import Supernet

_MOST_BYTES = 2**30
"""Of kept signals; those that were asked for longest ago go first."""

_EXTRACTOR = "feature_extractor."


class SharedFeatures:
    """Encodes fixed batches with one subnet after another, without gradients."""

    def __init__(
        self, supernet: Supernet, batches: Sequence[Batch], *, most_bytes: int = _MOST_BYTES
    ) -> None:
        """Set up; nothing is computed yet.

        Args:
            supernet: holds every subnet; brought to eval mode.
            batches: what is encoded.
            most_bytes: of signals to keep.
        """
        self.supernet = supernet.eval()
        self.batches = batches
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[int, tuple[int, ...]], Tensor] = OrderedDict()
        self._bytes = 0

    @torch.no_grad()
    def encode(self, subnet: Subnet, index: int, frame_mask: Tensor | None = None) -> EncoderOutput:
        """What the supernet's `forward` gives for a batch, bit for bit.

        Args:
            subnet: of the supernet's space.
            index: of the batch.
            frame_mask: bool (batch, frames), True = hidden; None: nothing is.
        """
        weights = self.supernet.slices(subnet)
        dense = self.supernet.wiring(subnet, weights)
        batch = self.batches[index]
        features = self._features(dense, weights, index)
        output: EncoderOutput = functional_call(
            _AfterExtractor(dense),
            {f"dense.{name}": tensor for name, tensor in weights.items()},
            (features, batch.lengths, frame_mask),
            strict=True,
        )
        return output

    def _features(self, dense: Wav2Vec2Encoder, weights: dict[str, Tensor], index: int) -> Tensor:
        """(batch, frames, channels), from the longest part of the extractor that is kept."""
        channels = tuple(
            len(weights[f"{_EXTRACTOR}{layer}.conv.weight"])
            for layer in range(len(dense.feature_extractor))
        )
        known = len(channels)
        while known and (index, channels[:known]) not in self._kept:
            known -= 1
        signal = self._recalled(index, channels[:known]) if known else self._waveform(index)
        elastic = bool(self.supernet.space.conv_channels)
        for layer in range(known, len(channels)):
            prefix = f"{_EXTRACTOR}{layer}."
            own = {
                name.removeprefix(prefix): tensor
                for name, tensor in weights.items()
                if name.startswith(prefix)
            }
            signal = functional_call(dense.feature_extractor[layer], own, (signal,), strict=True)
            if elastic or layer == len(channels) - 1:
                self._keep(index, channels[: layer + 1], signal)
        return signal

    def _waveform(self, index: int) -> Tensor:
        batch = self.batches[index]
        waveform = batch.waveform
        if self.supernet.encoder.config.normalize_waveform:
            waveform = normalize_waveform(waveform, batch.lengths)
        return waveform.unsqueeze(2)  # (batch, time, channels)

    def _recalled(self, index: int, channels: tuple[int, ...]) -> Tensor:
        self._kept.move_to_end((index, channels))
        return self._kept[index, channels]

    def _keep(self, index: int, channels: tuple[int, ...], signal: Tensor) -> None:
        self._kept[index, channels] = signal
        self._bytes += signal.nbytes
        while self._bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes


class _AfterExtractor(nn.Module):
    """An encoder from its conv features on, as a module that can be called with weights."""

    def __init__(self, dense: Wav2Vec2Encoder) -> None:
        super().__init__()
        self.dense = dense

    def forward(
        self, features: Tensor, lengths: Tensor | None, frame_mask: Tensor | None
    ) -> EncoderOutput:
        """(batch, frames, channels) to hidden states."""
        return self.dense.encode(self.dense.project_features(features, lengths), frame_mask)
