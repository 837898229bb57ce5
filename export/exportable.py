"""The form in which a dense keyword model leaves the lab: PCM in, posteriors out."""

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
        self.classifier = copy.deepcopy(classifier)
        for module in self.classifier.modules():
            if parametrize.is_parametrized(module):
                _own_class(module)
                for name in list(module.parametrizations):  # type: ignore[arg-type]
                    parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        self.eval().requires_grad_(False)

    def forward(self, pcm: Tensor) -> Tensor:
        """(batch, samples) to posteriors (batch, labels)."""
        posteriors: Tensor = self.classifier(pcm).softmax(-1)
        return posteriors


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
