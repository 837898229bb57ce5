"""A causal keyword model of a few hundred weights, and its steps."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from runtime.manifest import State
from train.models.streaming import (
    BoundedAttention,
    CausalConv1d,
    SlidingMean,
    States,
    after,
    chunk_ends,
    initial,
    part,
    prefixed,
)

LABELS = ("_silence_", "no", "yes")
HOP = 80
"""Samples of a frame."""
CHUNK = 2 * HOP
WINDOW = 10 * HOP
_DIM, _LEFT = 12, 5


class Model(nn.Module):
    """A filter bank, a convolution, attention, a mean and a linear layer: all causal."""

    def __init__(self) -> None:
        super().__init__()
        self.frontend = CausalConv1d(1, 6, 120, stride=HOP, bias=False)
        self.conv = CausalConv1d(6, _DIM, 3, dilation=2)
        self.attention = BoundedAttention(_DIM, 2, 4, _LEFT)
        self.mean = SlidingMean(_DIM, WINDOW // HOP)
        self.classifier = nn.Linear(_DIM, len(LABELS))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            "seen": (_LEFT,),
            **prefixed("frontend", self.frontend.shapes()),
            **prefixed("conv", self.conv.shapes()),
            **prefixed("attention", self.attention.shapes()),
            **prefixed("mean", self.mean.shapes()),
        }

    def stream(self, pcm: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """(batch, samples) to logits (batch, frames, labels), and the states after them."""
        bands, of_frontend = self.frontend(pcm.unsqueeze(1), part(states, "frontend"))
        features = bands.square().add(1e-3).log()
        hidden, of_conv = self.conv(features, part(states, "conv"))
        hidden = hidden.relu().transpose(1, 2)
        mixed, of_attention = self.attention(hidden, part(states, "attention"), states["seen"])
        pooled, of_mean = self.mean(hidden + mixed, part(states, "mean"))
        return self.classifier(pooled), {
            "seen": after(states["seen"], hidden.shape[1]),
            **prefixed("frontend", of_frontend),
            **prefixed("conv", of_conv),
            **prefixed("attention", of_attention),
            **prefixed("mean", of_mean),
        }


class TinyStep(nn.Module):
    """A chunk of the model's stream."""

    def __init__(self, model: Model, chunk_samples: int = CHUNK) -> None:
        super().__init__()
        self.model = model
        self.chunk_samples = chunk_samples
        self.window_samples = WINDOW
        self.states = tuple(
            State(name=name, shape=(1, *shape)) for name, shape in model.shapes().items()
        )

    def forward(self, pcm: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        names = [state.name for state in self.states]
        logits, after_it = self.model.stream(pcm, dict(zip(names, states, strict=True)))
        return logits[:, -1].softmax(-1), *(after_it[name] for name in names)

    def answers(self, waveform: Tensor) -> Tensor:
        whole = waveform[:, : waveform.shape[1] // self.chunk_samples * self.chunk_samples]
        logits, _ = self.model.stream(whole, initial(self.model.shapes(), len(whole), like=whole))
        return chunk_ends(logits, self.chunk_samples // HOP).softmax(-1)


def tiny_step(seed: int = 0, chunk_samples: int = CHUNK) -> TinyStep:
    """In training mode, as a run leaves it; its posteriors are away from a third."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Model()
        with torch.no_grad():
            model.attention.distance_bias.normal_()
            model.classifier.weight.mul_(8)
            model.classifier.bias.normal_(std=0.3)
    return TinyStep(model, chunk_samples)
