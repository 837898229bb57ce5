"""The form in which a dense model leaves the lab: PCM in, posteriors or features out."""

import copy

from torch import Tensor, nn
from torch.nn.utils import parametrize


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
