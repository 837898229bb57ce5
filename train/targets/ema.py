"""A teacher that follows its student: the exponential moving average of a network.

Source: data2vec, arXiv:2202.03555, section 3.2; data2vec 2.0, arXiv:2212.07525, section 3.1.
"""

from collections.abc import Collection
from typing import Self

import torch
from pydantic.dataclasses import dataclass
from torch import nn

from ..config import STRICT
from ..models.context import ContextNetwork
from ..models.keyword_transformer import KeywordContext


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EmaConfig:
    """How slowly a teacher follows; the decay moves in a line from `start` to `end`."""

    start: float = 0.999
    """Decay at the first update, in [0, 1]."""
    end: float = 0.9999
    """Decay from `updates` on, in [0, 1]; 1 stands still."""
    updates: int = 30_000
    """Updates that the way from `start` to `end` takes."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.start <= 1.0 or not 0.0 <= self.end <= 1.0 or self.updates < 1:
            raise ValueError(
                "start and end must lie in [0, 1] and updates be 1 or more, got "
                f"{self.start}, {self.end}, {self.updates}"
            )

    def decay(self, update: int) -> float:
        """Decay after `update` optimizer steps."""
        share = min(update / self.updates, 1.0)
        return self.start + (self.end - self.start) * share


class Follower(nn.Module):
    """A network without gradient, always in eval mode, that follows another of its kind.

    It stands before the network among the bases of a teacher, and adds nothing to its weights.
    """

    _copied: tuple[str, ...] = ()

    def begin(self, student: nn.Module, copied: Collection[str] = ()) -> None:
        """Start as the student is.

        Args:
            student: what it follows; it may have weights beside those of this network.
            copied: modules whose weights are the student's own, not averages.
        """
        self._copied = tuple(f"{name}." for name in copied)
        own = self.state_dict().keys()
        state = student.state_dict()
        self.load_state_dict({name: state[name] for name in own})
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever is asked: no dropout, no dropped layer."""
        super().train(False)
        return self

    @torch.no_grad()
    def follow(self, student: nn.Module, decay: float) -> None:
        """Move: weights = decay · weights + (1 − decay) · the student's, in float32."""
        theirs = dict(student.named_parameters())
        for name, weight in self.named_parameters():
            if name.startswith(self._copied):
                weight.copy_(theirs[name])
            else:
                weight.lerp_(theirs[name].to(weight.dtype), 1.0 - decay)


class EmaTeacher(Follower, ContextNetwork):
    """A context network that follows an encoder's."""

    def __init__(self, student: ContextNetwork, *, copied: Collection[str] = ()) -> None:
        """Start as the student is; arguments as for `begin`."""
        ContextNetwork.__init__(self, student.config)
        self.begin(student, copied)


class EmaKeywordTeacher(Follower, KeywordContext):
    """All that learns of a Keyword Transformer, following one."""

    def __init__(self, student: KeywordContext) -> None:
        KeywordContext.__init__(self, student.config)
        self.begin(student)
