"""How wide each part stays: by ratio, or as a total allows. Without torch.

A total is met greedily: step by step the part goes narrower that loses least by it. Costs are
those of the closed forms at every step, so that the total is honoured exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.models.wav2vec2_config import Wav2Vec2Config

from .. import BudgetError
from ..cost.encoder_params import encoder_params
from ..cost.macs import macs
from .parts import Part, resized
from .recipe import PruneRecipe

_LIMITS = ("target_params", "target_macs")
_NAMES = ("parameters", "MACs")


@dataclass(frozen=True)
class Scores:
    """What each unit is worth."""

    by_part: tuple[NDArray[np.float64], ...]
    """A part each: float (units,), 0 or more, in the units' order."""
    comparable: bool
    """Scores of different parts measure one thing, so that they can be weighed against costs;
    where they do not, each is taken by the mean of its part."""

    def kept(self, part: int, width: int) -> NDArray[np.int64]:
        """The `width` units of a part that are worth most, ascending; the first of equals."""
        order = np.argsort(-self.by_part[part], kind="stable")
        return np.sort(order[:width])


def costs(config: Wav2Vec2Config) -> NDArray[np.int64]:
    """(2,): parameters, and multiply-accumulates of one second of audio."""
    return np.array([encoder_params(config), macs(config).total], dtype=np.int64)


def choose_widths(
    config: Wav2Vec2Config, parts: Sequence[Part], scores: Scores, recipe: PruneRecipe
) -> tuple[int, ...]:
    """Decide on the widths of the parts.

    With a total, no part could take its last step back without breaking it.

    Args:
        config: of the encoder as it is.
        parts: what may be narrowed.
        scores: what their units are worth.
        recipe: its totals, or its ratios where it has none.

    Raises:
        BudgetError: the totals cannot be reached, or nothing would go.
    """
    limits = [getattr(recipe, name) for name in _LIMITS]
    if all(limit is None for limit in limits):
        wanted = tuple(part.wanted for part in parts)
        if all(part.num_units == width for part, width in zip(parts, wanted, strict=True)):
            raise BudgetError(
                "these ratios take nothing from this model: its layers are that small, or round_to "
                "and least hold every unit. Raise the ratios or lower round_to and least"
            )
        return wanted
    targets = np.array([np.inf if limit is None else limit for limit in limits])
    _check_reachable(config, parts, targets)
    shrinking = _Shrinking(config, parts, scores, targets)
    shrinking.down()
    shrinking.back()
    return tuple(shrinking.widths())


def _check_reachable(
    config: Wav2Vec2Config, parts: Sequence[Part], targets: NDArray[np.float64]
) -> None:
    before = costs(config)
    if (before <= targets).all():
        have = " and ".join(f"{cost:,} {name}" for cost, name in zip(before, _NAMES, strict=True))
        raise BudgetError(f"nothing is to be pruned: the model has {have}. Lower the target")
    smallest = costs(resized(config, parts, [part.widths[-1] for part in parts]))
    for index, flag in enumerate(("--target-params", "--target-macs")):
        if smallest[index] > targets[index]:
            raise BudgetError(
                f"pruning cannot reach {int(targets[index]):,} {_NAMES[index]}: within the "
                f"recipe's limits the smallest has {smallest[index]:,}, and the model has "
                f"{before[index]:,}. Raise {flag}, or loosen largest_ratio, least and whole_layers"
            )


class _Shrinking:
    """An encoder on its way down; `steps[p]` counts how often part p went narrower."""

    def __init__(
        self,
        config: Wav2Vec2Config,
        parts: Sequence[Part],
        scores: Scores,
        targets: NDArray[np.float64],
    ) -> None:
        self.config, self.parts, self.targets = config, parts, targets
        self.comparable = scores.comparable
        self.steps = [0] * len(parts)
        self.history: list[int] = []
        self.now = costs(config)
        self.losses = [
            self._losses(part, units) for part, units in zip(parts, scores.by_part, strict=True)
        ]
        self.saved: list[NDArray[np.int64] | None] = [
            self._saving(index) for index in range(len(parts))
        ]

    def widths(self) -> list[int]:
        """Of the parts, now."""
        return [part.widths[step] for part, step in zip(self.parts, self.steps, strict=True)]

    def down(self) -> None:
        """Take the cheapest step until every total holds."""
        while (self.now > self.targets).any():
            index = min(range(len(self.parts)), key=self._price)
            saved = self.saved[index]
            assert saved is not None, "the totals were found to be reachable"
            self.steps[index] += 1
            self.history.append(index)
            self.now = self.now - saved
            convs = self.parts[index].kind == "conv_channels"  # whose cost is their neighbours' too
            for other, part in enumerate(self.parts):
                if other == index or (convs and part.kind == "conv_channels"):
                    self.saved[other] = self._saving(other)

    def back(self) -> None:
        """Undo what the last steps took beyond need, the latest first."""
        stuck: set[int] = set()
        for index in reversed(self.history):
            if index in stuck:
                continue
            self.steps[index] -= 1
            wider = costs(self._resized())
            if (wider <= self.targets).all():
                self.now = wider
            else:
                self.steps[index] += 1
                stuck.add(index)

    def _losses(self, part: Part, units: NDArray[np.float64]) -> list[float]:
        """What each step down loses: the sum of its units, or their mean by the part's mean."""
        worth = np.sort(units)[::-1]
        if not self.comparable:
            worth = worth / max(float(worth.mean()), np.finfo(np.float64).tiny)
        losses = []
        for width, narrower in zip(part.widths, part.widths[1:], strict=False):
            gone = worth[narrower:width]
            losses.append(float(gone.sum() if self.comparable else gone.mean()))
        return losses

    def _price(self, index: int) -> float:
        """What a part's next step loses; by what it saves of the missing, where that compares."""
        saved = self.saved[index]
        if saved is None:
            return np.inf
        loss = self.losses[index][self.steps[index]]
        if not self.comparable:
            return loss
        excess: NDArray[Any] = self.now - self.targets
        unmet = excess > 0
        return loss / float((saved[unmet] / excess[unmet]).sum())

    def _saving(self, index: int) -> NDArray[np.int64] | None:
        """What a part's next step would save; None where there is none."""
        if self.steps[index] + 1 == len(self.parts[index].widths):
            return None
        self.steps[index] += 1
        smaller = costs(self._resized())
        self.steps[index] -= 1
        return self.now - smaller

    def _resized(self) -> Wav2Vec2Config:
        return resized(self.config, self.parts, self.widths())
