"""What subnets have in common on the same audio, computed once.

A subnet runs from stage to stage: the layers of its feature extractor, the way from there to the
transformer, the layers of the transformer. What a stage gives depends on the choices up to it
alone. So two subnets share their work up to the first choice in which they differ: the whole
extractor where it is not elastic, which is most of a small model's work, then positions of the same
width, then layers. A search's children have many beginnings in common with their parents.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.func import functional_call

from train.data.batches import Batch
from train.models.wav2vec2 import Wav2Vec2Encoder, normalize_waveform

from ..subnet import Subnet
from ..supernet import Supernet

_MOST_BYTES = 2**30
"""Of kept signals; those that were asked for longest ago go first."""

_Path = tuple[tuple[int, ...], ...]
"""Choices from the first stage on."""


@dataclass(frozen=True)
class Encoded:
    """A batch as a subnet sees it."""

    output: Tensor
    """(batch, frames, embed_dim), the last hidden state."""
    padding_mask: Tensor | None
    """bool (batch, frames), True = padding; None where nothing is."""


@dataclass(frozen=True)
class _Stage:
    choice: tuple[int, ...]
    """What tells this stage from that of another subnet with the same beginning."""
    run: Callable[[Tensor], Tensor]
    kept: bool
    """Whether others may have it in common."""


class SharedFeatures:
    """Encodes fixed batches with one subnet after another, without gradients."""

    def __init__(
        self,
        supernet: Supernet,
        batches: Sequence[Batch],
        masks: Sequence[Tensor] | None = None,
        *,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        """Set up; nothing is computed yet.

        Args:
            supernet: holds every subnet; brought to eval mode.
            batches: what is encoded.
            masks: for each batch bool (batch, frames), True = hidden from subnets; None: nothing.
            most_bytes: of signals to keep.
        """
        self.supernet = supernet.eval()
        self.batches = batches
        self._masks = masks
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[int, _Path], Tensor] = OrderedDict()
        self._bytes = 0

    def encode(self, subnet: Subnet) -> Iterator[Encoded]:
        """For each batch what the supernet's `forward` gives last, bit for bit."""
        with torch.no_grad():
            weights = self.supernet.slices(subnet)
        for index in range(len(self.batches)):
            yield self._encode(subnet, weights, index)

    @torch.no_grad()
    def _encode(self, subnet: Subnet, weights: dict[str, Tensor], index: int) -> Encoded:
        dense = self.supernet.wiring(subnet, weights)
        lengths = self.batches[index].lengths
        if dense.config.streaming is not None:  # one pass hands states on; no stage is by itself
            masks = None if self._masks is None else self._masks[index]
            output = self.supernet(subnet, self.batches[index].waveform, lengths, masks)
            return Encoded(output.output, output.padding_mask)
        stages = list(self._stages(subnet, dense, weights, index))
        keys = [(index, path) for path in accumulate((stage.choice,) for stage in stages)]
        known = len(stages)
        while known and keys[known - 1] not in self._kept:
            known -= 1
        signal = self._kept[keys[known - 1]] if known else self._waveform(index)
        for key in keys[:known]:  # others may part from the same way earlier
            if key in self._kept:
                self._kept.move_to_end(key)
        for stage, key in zip(stages[known:], keys[known:], strict=True):
            signal = stage.run(signal)
            if stage.kept:
                self._keep(key, signal)
        return Encoded(signal, dense.padding_mask(lengths, signal.shape[1]))

    def _stages(
        self, subnet: Subnet, dense: Wav2Vec2Encoder, weights: dict[str, Tensor], index: int
    ) -> Iterator[_Stage]:
        space, lengths = self.supernet.space, self.batches[index].lengths
        blocks = dense.feature_extractor
        for number, block in enumerate(blocks):
            run = _calling(block, _below(f"feature_extractor.{number}.", weights))
            channels = len(weights[f"feature_extractor.{number}.conv.weight"])
            shared = bool(space.conv_channels) or number == len(blocks) - 1
            yield _Stage((channels,), run, kept=shared)
        hidden_frames = None if self._masks is None else self._masks[index]
        all_below = {f"dense.{name}": tensor for name, tensor in weights.items()}
        run = _calling(_Start(dense), all_below, lengths, hidden_frames)
        yield _Stage((subnet.embed_dim,), run, kept=True)
        padding_mask = dense.padding_mask(lengths, space.supernet.num_frames(int(lengths.max())))
        for number, source in enumerate(space.kept_layers(subnet.depth)):
            choice = (source, subnet.num_heads[number], subnet.ffn_dim[number])
            layer = _Layer(dense.layers[number], dense.attend)
            run = _calling(layer, _below(f"layers.{number}.", weights, "layer."), padding_mask)
            yield _Stage(choice, run, kept=number < subnet.depth - 1)
        if dense.config.pre_norm:
            yield _Stage((), _calling(dense.norm, _below("norm.", weights)), kept=False)

    def _waveform(self, index: int) -> Tensor:
        batch = self.batches[index]
        waveform = batch.waveform
        if self.supernet.encoder.config.normalize_waveform:
            waveform = normalize_waveform(waveform, batch.lengths)
        return waveform.unsqueeze(2)  # (batch, time, channels)

    def _keep(self, key: tuple[int, _Path], signal: Tensor) -> None:
        self._kept[key] = signal
        self._bytes += signal.nbytes
        while self._bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes


class _Start(nn.Module):
    """An encoder from its conv features to its first layer."""

    def __init__(self, dense: Wav2Vec2Encoder) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, features: Tensor, lengths: Tensor, frame_mask: Tensor | None) -> Tensor:
        """(batch, frames, channels) to (batch, frames, embed_dim)."""
        local = self.dense.project_features(features, lengths)
        return self.dense.place(self.dense.hide(local.projected, frame_mask), local.padding_mask)


class _Layer(nn.Module):
    """A layer without its second result."""

    def __init__(
        self, layer: nn.Module, attend: Callable[[Tensor, Tensor | None], Tensor | None]
    ) -> None:
        super().__init__()
        self.layer, self._attend = layer, attend

    def forward(self, hidden: Tensor, padding_mask: Tensor | None) -> Tensor:
        """(batch, frames, embed_dim) to the same shape."""
        output, _ = self.layer(hidden, self._attend(hidden, padding_mask))
        return output  # type: ignore[no-any-return]


def _below(prefix: str, weights: dict[str, Tensor], instead: str = "") -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, with `instead` in its place."""
    return {
        instead + name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def _calling(
    module: nn.Module, weights: dict[str, Tensor], *more: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """The module as a function of a signal; of nothing that changes later but its mode."""

    def run(signal: Tensor) -> Tensor:
        output: Tensor = functional_call(
            module, weights, (signal, *more), tie_weights=False, strict=True
        )
        return output

    return run
