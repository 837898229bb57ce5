"""Phones that nobody told: a teacher hears them, and the student learns what it heard.

Sources: momentum pseudo-labelling, arXiv:2203.15937, whose teacher follows the student; noisy
student training, arXiv:2010.10504, whose teacher was trained before and stays as it is.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from ..config import STRICT
from ..data.batches import Batch
from ..objectives import Loss
from ..seeding import Draws
from ..targets.ema import Follower
from .augmenting import Variation
from .phones import PhoneModel, PhoneObjective, ctc, error_rate, rows_of, spelled


@dataclass(frozen=True, kw_only=True, config=STRICT)
class UnlabelledConfig:
    """How recordings are learned from whose phones nobody told; the defaults are the paper's."""

    labels: Literal["offline", "momentum"]
    """Who tells their phones. `offline`: a trained model, as it is. `momentum`: the moving average
    of what learns, from its first weights on."""
    share: float | None = None
    """Of an update's audio that is unlabelled, in (0, 1]; 1: labels are not mixed in. None: all
    recordings are drawn alike."""
    weight: float = 1.0
    """Of a phone that the teacher told, where one that a label tells has 1; positive."""
    min_log_posterior: float | None = None
    """Least log posterior of the teacher's best path for each phone that it spells, below 0:
    recordings that it is less sure of count for nothing. None: all count."""
    first_weight: float = 0.5
    """Of `momentum`: what the teacher's first weights count for after `first_weight_updates`, in
    (0, 1]; 1 stands still."""
    first_weight_updates: int | None = None
    """Optimizer steps, 1 or more; None: all of the run's."""

    def __post_init__(self) -> None:
        if self.share is not None and not 0.0 < self.share <= 1.0:
            raise ValueError(f"share must lie in (0, 1], got {self.share}")
        if not 0.0 < self.weight < float("inf"):
            raise ValueError(f"weight must be positive, got {self.weight}")
        if self.min_log_posterior is not None and not self.min_log_posterior < 0.0:
            raise ValueError(
                f"min_log_posterior must be below 0, the log of 1; got {self.min_log_posterior}"
            )
        if not 0.0 < self.first_weight <= 1.0:
            raise ValueError(f"first_weight must lie in (0, 1], got {self.first_weight}")
        if self.first_weight_updates is not None and self.first_weight_updates < 1:
            raise ValueError(
                f"first_weight_updates must be 1 or more, got {self.first_weight_updates}"
            )

    def decay(self, updates: int) -> float:
        """What a momentum teacher keeps of itself at each of the run's `updates`."""
        return float(self.first_weight ** (1.0 / (self.first_weight_updates or updates)))


class Told(NamedTuple):
    """What a teacher makes of a recording."""

    phones: list[int]
    """Numbers of the labels that its best path spells."""
    log_posterior: float
    """Of that path, over the number of its phones: a mean over frames, most of which are blanks,
    does not tell better recordings from worse ones."""


class PhoneTeacher(Follower, PhoneModel):
    """A phone model without gradient, always in eval mode, that may follow one of its sizes."""

    rest: Tensor

    def __init__(self, model: PhoneModel) -> None:
        """Start as the model is."""
        PhoneModel.__init__(self, copy.deepcopy(model.body))
        self.begin(model)
        self.register_buffer("rest", torch.zeros_like(_flat(_moving(model.state_dict()))))

    @torch.no_grad()
    def follow(self, student: nn.Module, decay: float) -> None:
        """Move: state = decay · state + (1 − decay) · the student's, norms' statistics included.

        The steps of a slow teacher are so small beside its weights that float32 rounds a part of
        each away, and after 10,000 of them weights are wrong by up to 2e-4. So what was rounded
        away is kept in `rest` and goes with the next step (Kahan's summation).
        """
        theirs, own = student.state_dict(), self.state_dict()
        moved = _moving({name: own[name] for name in theirs})
        before = _flat(moved)
        step = (_flat(_moving(theirs)) - before) * (1.0 - decay) + self.rest
        after = before + step
        self.rest.copy_(step - (after - before))
        parts = after.split([tensor.numel() for tensor in moved])
        for tensor, part in zip(moved, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    @torch.no_grad()
    def told(self, waveform: Tensor, num_samples: Sequence[int]) -> list[Told]:
        """Hear recordings as they are: (batch, samples), of so many samples each."""
        rows = [row.log_softmax(-1).cpu() for row in rows_of(self, waveform, num_samples)]
        paths = [(spelled(row), float(row.amax(-1).sum())) for row in rows]
        return [Told(phones, total / max(1, len(phones))) for phones, total in paths]


def _moving(state: Mapping[str, Tensor]) -> list[Tensor]:
    """Weights and running statistics; counters tell nothing in eval mode."""
    return [tensor for tensor in state.values() if tensor.is_floating_point()]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


class PseudoLabelObjective(PhoneObjective):
    """CTC of varied recordings; where nobody told the phones, a teacher does, of the unvaried."""

    def __init__(
        self,
        model: PhoneModel,
        variation: Variation,
        said: Mapping[str, Sequence[str]],
        teacher: PhoneTeacher,
        config: UnlabelledConfig,
        *,
        updates: int,
    ) -> None:
        """Set up.

        Args:
            model: what learns.
            variation: how recordings are varied for it.
            said: the phones of labelled recordings by id; all others are unlabelled.
            teacher: tells the phones of these.
            config: how it moves, and which of its labels count for how much.
            updates: of the run.
        """
        super().__init__(model, variation, said)
        self.teacher = teacher
        self.config = config
        self._decay = config.decay(updates)

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Loss of a batch; phones that the teacher told count for `weight` of one.

        Logged beside the loss are the student's error rates against labels and against the teacher,
        and the share of unlabelled recordings that count; 0 in an update that has none of the kind.
        """
        said = [self.said.get(cut_id) for cut_id in batch.cut_ids]
        unlabelled = [row for row, phones in enumerate(said) if phones is None]
        told = dict(zip(unlabelled, self._told(batch, unlabelled), strict=True))
        wanted = [told[row] if phones is None else phones for row, phones in enumerate(said)]
        learned = [row for row in unlabelled if len(wanted[row])]
        weights = torch.ones(len(wanted))
        weights[unlabelled] = 0.0
        weights[learned] = self.config.weight
        logits = self.heard(batch, draws)
        lengths = torch.tensor([len(phones) for phones in wanted])
        spelt = [spelled(row) for row in logits.detach()]

        def rate(rows: Sequence[int]) -> Tensor:
            return torch.tensor(
                error_rate([spelt[row] for row in rows], [wanted[row] for row in rows])
            )

        parts = {
            "pseudo_error_rate": rate(learned),
            "pseudo_learned": torch.tensor(len(learned) / max(1, len(unlabelled))),
        }
        if self.said:
            labelled = [row for row in range(len(wanted)) if row not in told]
            parts["phone_error_rate"] = rate(labelled)
        return Loss(
            (ctc(logits, wanted) * weights.to(logits.device)).sum(),
            float((weights * lengths).sum()),
            parts,
        )

    def after_update(self, update: int) -> None:
        """Let a momentum teacher follow."""
        if self.config.labels == "momentum":
            self.teacher.follow(self.model, self._decay)

    def _told(self, batch: Batch, rows: Sequence[int]) -> list[Tensor]:
        """The teacher's phones of these rows; none of those that it is not sure enough of."""
        if not rows:
            return []
        lengths = [batch.num_samples[row] for row in rows]
        least = self.config.min_log_posterior
        return [
            torch.tensor(
                told.phones if least is None or told.log_posterior >= least else [],
                dtype=torch.int64,
            )
            for told in self.teacher.told(batch.waveform[list(rows)], lengths)
        ]
