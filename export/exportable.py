"""The form in which a dense model leaves the lab: PCM in, posteriors or features out."""

import copy
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from runtime.manifest import State

from .targets import Target
from .verify import odd_lengths, probe


class Exportable(Protocol):
    """A classifier in one of the streaming forms: how it is written, and what it must answer."""

    @property
    def module(self) -> nn.Module:
        """What is written, in eval mode with plain tensors for weights."""

    @property
    def states(self) -> tuple[State, ...]:
        """What a graph of it hands from run to run."""

    def write(self, target: Target, path: Path) -> None:
        """Write the graph in a format.

        Args:
            target: a file of targets/.
            path: where the graph goes.
        """

    def answers(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Torch's answers to `recordings` and their like: (answers, labels), in a graph's order."""

    def recordings(self, seed: int) -> tuple[NDArray[np.float32], ...]:
        """Signals to hold a graph to torch on, of lengths that nobody rounds to where it can.

        Args:
            seed: of the signals.

        Returns:
            (batch, samples) each.
        """

    def fitting(self, clip: NDArray[np.float32]) -> NDArray[np.float32]:
        """A clip (samples,) as a recording (1, samples) that the graph can be run over."""

    def golden(self) -> NDArray[np.float32]:
        """A recording that another machine is asked on."""


class Windows:
    """A classifier that is run anew on every window."""

    def __init__(
        self, classifier: nn.Module, window_samples: int, lengths: Collection[int] = ()
    ) -> None:
        """Copy and prepare.

        Args:
            classifier: as `Posteriors` takes it.
            window_samples: of the stream's windows; other lengths work too where a format can.
            lengths: more of them that every graph must take.
        """
        self.module: nn.Module = Posteriors(classifier)
        self._lengths = tuple(sorted(set(lengths) - {window_samples}))
        self.states: tuple[State, ...] = ()
        self._window_samples = window_samples

    def write(self, target: Target, path: Path) -> None:
        """Any batch and length where the format can; the window's and `lengths` everywhere."""
        if self._lengths:
            target.write(
                self.module, path, window_samples=self._window_samples, lengths=self._lengths
            )
        else:
            target.write(self.module, path, window_samples=self._window_samples)

    def answers(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, labels)."""
        with torch.inference_mode():
            answers: NDArray[np.float32] = self.module(torch.from_numpy(pcm)).numpy()
        return answers

    def recordings(self, seed: int) -> tuple[NDArray[np.float32], ...]:
        """Odd lengths, alone and in twos, and all that were asked for."""
        odd = [
            probe(length, batch=1 + number % 2, seed=seed)
            for number, length in enumerate(odd_lengths(self._window_samples))
        ]
        return (*odd, *(probe(length, batch=1, seed=seed) for length in self._lengths))

    def fitting(self, clip: NDArray[np.float32]) -> NDArray[np.float32]:
        """As it is."""
        return clip[None]

    def golden(self) -> NDArray[np.float32]:
        """A window."""
        return probe(self._window_samples, batch=1, seed=1)


class Posteriors(nn.Module):
    """A classifier whose answer is a distribution, its reparametrizations folded in."""

    def __init__(self, classifier: nn.Module) -> None:
        """Copy and prepare.

        Args:
            classifier: (batch, samples) in [-1, 1] to logits (batch, labels); it brings its own
                normalization or log-mel.
        """
        super().__init__()
        self.classifier = folded(classifier)
        self.eval()

    def forward(self, pcm: Tensor) -> Tensor:
        """(batch, samples) to posteriors (batch, labels)."""
        posteriors: Tensor = self.classifier(pcm).softmax(-1)
        return posteriors


class Features(nn.Module):
    """An encoder's last hidden state, its reparametrizations folded in."""

    def __init__(self, encoder: nn.Module) -> None:
        """Copy and prepare.

        Args:
            encoder: (batch, samples) in [-1, 1] to something with an `output` (batch, frames,
                embed_dim).
        """
        super().__init__()
        self.encoder = folded(encoder)
        self.eval()

    def forward(self, pcm: Tensor) -> Tensor:
        """(batch, samples) to features (batch, frames, embed_dim)."""
        features: Tensor = self.encoder(pcm).output
        return features


def folded(module: nn.Module) -> nn.Module:
    """A copy with plain tensors for weights, that neither trains nor takes gradients."""
    copied = copy.deepcopy(module)
    for part in copied.modules():
        if parametrize.is_parametrized(part):
            _own_class(part)
            for name in list(part.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    return copied.eval().requires_grad_(False)


def _own_class(module: nn.Module) -> None:
    """Part a copy from its original: the tensor is a property of a class that both share.

    Removing a reparametrization deletes that property, and would leave the original without weight.
    """
    shared = type(module)
    members = {
        name: member
        for name, member in vars(shared).items()
        if name not in ("__dict__", "__weakref__")
    }
    module.__class__ = type(shared.__name__, shared.__bases__, members)
