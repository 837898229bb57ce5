"""Training of a keyword supernet: the largest model learns labels, the others learn from it.

In every update the largest, the smallest and some between them see the same clips, varied alike
(the sandwich rule); what the largest answers is the target of the others (in-place distillation).
No teacher is needed beside. Source: universally slimmable networks, arXiv:1903.05134, section 3;
with the sizes of a once-for-all network, as in BigNAS, arXiv:2003.11142.
"""

from dataclasses import fields
from typing import Any, Literal

from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional

from train.config import STRICT
from train.data.batches import Batch
from train.keywords_recipe import KeywordsRecipe
from train.labelled import LabelledRecipe
from train.objectives import Loss
from train.recipe import check
from train.seeding import Draws
from train.tasks.augmenting import Variation, striped
from train.tasks.keywords import KeywordObjective

from ..heard_once import heard_once
from ..keyword_spaces import KeywordSpace, KeywordSubnet
from ..keyword_supernet import KeywordSupernet
from .sampling import sandwich


@dataclass(frozen=True, kw_only=True, config=STRICT)
class KeywordSupernetRecipe(LabelledRecipe):
    """Training of all models of a space at once."""

    scheme: Literal["in_place"]
    """How the smaller ones learn."""
    space: str
    """Which models there are (compress recipes lists the spaces)."""
    num_random: int = 2
    """Models between the extremes in an update."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.updates < 1 or self.num_random < 0:
            raise ValueError(
                "updates must be 1 or more and num_random 0 or more, got "
                f"{self.updates} and {self.num_random}"
            )

    def keywords(self, space: KeywordSpace, **changes: Any) -> KeywordsRecipe:
        """A recipe that trains one model of the space on the same clips.

        Args:
            space: the recipe's.
            changes: of it, such as its body's sizes under the body's name.

        Raises:
            RecipeError: the body and the recipe's window or streaming do not fit.
        """
        shared = {field.name: getattr(self, field.name) for field in fields(LabelledRecipe)}
        asked = {"task": "keywords", "body": space.body, space.body: space.full}
        return check(shared | asked | changes, KeywordsRecipe, f"space {space.name!r}")


class InPlace(KeywordObjective):
    """Cross-entropy of the largest model with labels, and of the others with its answers."""

    def __init__(
        self,
        supernet: KeywordSupernet,
        variation: Variation,
        *,
        window_samples: int,
        label_smoothing: float,
        num_random: int,
    ) -> None:
        """Set up; `num_random` models between the extremes learn in an update."""
        super().__init__(
            supernet.model,
            variation,
            window_samples=window_samples,
            label_smoothing=label_smoothing,
        )
        self.supernet = supernet
        self.num_random = num_random

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Train an update's models on one batch, their losses averaged."""
        waveform, wanted, rngs = self.varied(batch, draws)
        largest, *others = self.subnets(draws)
        features: list[Tensor] = []  # of the largest, stripes and all, and then of the others

        def answer(subnet: KeywordSubnet) -> Tensor:
            with heard_once(self.supernet.wiring(subnet), features):
                return self.supernet(subnet, waveform)  # type: ignore[no-any-return]

        with striped(self.supernet.wiring(largest), self.variation.config.stripes, rngs):
            logits = answer(largest)
        loss = functional.cross_entropy(
            logits, wanted, label_smoothing=self.label_smoothing, reduction="sum"
        )
        right = {"accuracy": (logits.detach().argmax(-1) == wanted).float().mean()}
        target = logits.detach().softmax(-1)
        for subnet in others:
            answers = answer(subnet)
            loss = loss + functional.cross_entropy(answers, target, reduction="sum")
            if subnet == self.supernet.space.smallest():
                hits = answers.detach().argmax(-1) == wanted
                right["smallest_accuracy"] = hits.float().mean()
        return Loss(loss / (1 + len(others)), len(wanted), right)

    def subnets(self, draws: Draws) -> tuple[KeywordSubnet, ...]:
        """Those of an update, the same in every process and pass: the largest comes first."""
        # A child of the update's generator, which itself says how long a lead is.
        (rng,) = draws.update().spawn(1)
        return sandwich.draw(self.supernet.space, rng, num_random=self.num_random)
