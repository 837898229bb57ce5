"""Product quantization by Gumbel softmax: what wav2vec 2.0 tells apart.

Source: wav2vec 2.0, arXiv:2006.11477, section 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..distributed import summed


@dataclass(frozen=True)
class Quantized:
    """Frames as entries of the code books."""

    vectors: Tensor
    """(frames, output_dim): the chosen entries of all groups, side by side."""
    codes: Tensor
    """int64 (frames,): one number for each choice of entries."""
    soft_perplexity: Tensor
    """Entries that the softmax uses on average, summed over groups; carries the gradient."""
    hard_perplexity: Tensor
    """The same of what was chosen; for the log."""


class GumbelQuantizer(nn.Module):
    """G code books of V entries; the gradient passes straight through the choice."""

    def __init__(self, input_dim: int, output_dim: int, *, groups: int, entries: int) -> None:
        """Set up.

        Args:
            input_dim: width of a frame's features.
            output_dim: width of the entries of all groups together; a multiple of `groups`.
            groups: code books.
            entries: of each code book.
        """
        super().__init__()
        self.groups = groups
        self.entries = entries
        self.codevectors = nn.Parameter(torch.rand(1, groups * entries, output_dim // groups))
        self.weight_proj = nn.Linear(input_dim, groups * entries)
        nn.init.normal_(self.weight_proj.weight, std=1.0)
        nn.init.zeros_(self.weight_proj.bias)

    def forward(self, features: Tensor, temperature: float) -> Quantized:
        """Choose entries: with Gumbel noise while training, the likeliest ones else.

        Args:
            features: (frames, input_dim).
            temperature: of the softmax over noisy logits, above 0.
        """
        logits = self.weight_proj(features).float().view(-1, self.groups, self.entries)
        chosen = logits.detach().argmax(-1)
        if self.training:
            picks = functional.gumbel_softmax(logits, tau=temperature, hard=True)
            codes = picks.detach().argmax(-1)
        else:
            picks = functional.one_hot(chosen, self.entries).to(logits.dtype)
            codes = chosen
        books = self.codevectors.float().view(self.groups, self.entries, -1)
        vectors = torch.einsum("ngv,gvd->ngd", picks, books).flatten(1)
        radix = self.entries ** torch.arange(self.groups, device=codes.device)
        likeliest = functional.one_hot(chosen, self.entries).to(logits.dtype)
        return Quantized(
            vectors,
            (codes * radix).sum(-1),
            _perplexity(logits.softmax(-1)),
            _perplexity(likeliest),
        )


def _perplexity(probabilities: Tensor) -> Tensor:
    """(frames, groups, entries) to a scalar: exp of the mean choice's entropy, summed over groups.

    The mean is over every process's frames, so that several devices judge as one would.
    """
    count = summed(probabilities.new_tensor(float(len(probabilities))))
    mean = summed(probabilities.sum(0)) / count.clamp_min(1.0)
    entropy = -(mean * torch.log(mean + 1e-7)).sum(-1)
    return entropy.exp().sum()
