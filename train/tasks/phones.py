"""Phone recognition: a causal body judged at every frame, trained by CTC.

Source: A. Graves et al., "Connectionist temporal classification", ICML 2006; the labels are those
of momentum pseudo-labelling for mispronunciations, arXiv:2203.15937.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn
from torch.nn import functional

from runtime.phone_stream import TAIL_S

from ..data.arpabet import PAUSE, PHONES, UNCLEAR
from ..data.audio import PackedAudio
from ..data.batches import Batch, FixedBatches
from ..errors import TrainError
from ..models.checkpoints import load_checkpoint, restore, save_checkpoint
from ..models.frontend import SAMPLE_RATE
from ..models.streaming import initial
from ..nearest import nearest
from ..objectives import Loss, Objective
from ..recipe import check
from ..seeding import Draws
from .augmenting import Variation, striped
from .bodies import BODIES, CausalBody, is_causal, name_of

FAMILY = "phones"
BLANK = "_blank_"
LABELS = (BLANK, *PHONES, PAUSE, UNCLEAR)
"""CTC's blank, ARPAbet, a pause, and a sound that is no English phone."""

TAIL_SAMPLES = round(TAIL_S * SAMPLE_RATE)
"""Of silence after a recording, as a stream of it ends."""


class PhoneModel(nn.Module):
    """A causal body, and a linear layer over its vectors."""

    def __init__(self, body: CausalBody) -> None:
        super().__init__()
        self.body = body
        self.labels = LABELS
        self.classifier = nn.Linear(body.output_dim, len(LABELS))

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) in [-1, 1], whole frames, to logits (batch, frames, labels)."""
        states = initial(self.body.shapes(), waveform.shape[0], like=waveform)
        vectors, _ = self.body.stream(waveform, states)
        logits: Tensor = self.classifier(vectors)
        return logits


def save_phones(
    folder: Path, model: PhoneModel, *, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a phone model's checkpoint; `provenance` says in JSON values what it was made from.

    None: its run folder says it.
    """
    body: Any = model.body
    record = {
        "family": FAMILY,
        "labels": list(LABELS),
        "body": name_of(body),
        "sizes": dataclasses.asdict(body.config),
        **({} if provenance is None else {"provenance": dict(provenance)}),
    }
    save_checkpoint(folder, record, model.state_dict())


def load_phones(folder: Path) -> PhoneModel:
    """Read a phone model back, every tensor accounted for.

    Raises:
        TrainError: there is none, it is damaged, of another family or of other labels.
    """
    config, state = load_checkpoint(folder, FAMILY, "labels", "body", "sizes")
    source, name = f"{folder}/config.json", config["body"]
    if not is_causal(name):
        raise TrainError(
            f"{source}: there is no causal body {name!r}; {nearest(str(name), BODIES)}"
        )
    if tuple(config["labels"]) != LABELS:
        raise TrainError(f"{source}: its labels are not this version's phones; train it anew")
    kind = BODIES[name]
    body = kind.build(check(config["sizes"], kind.config, source))
    assert isinstance(body, CausalBody)
    model = PhoneModel(body)
    restore(model, state, folder)
    return model


class PhoneObjective(Objective):
    """CTC of varied recordings, summed over their phones."""

    def __init__(
        self, model: PhoneModel, variation: Variation, said: Mapping[str, Sequence[str]]
    ) -> None:
        """Set up.

        Args:
            model: what learns.
            variation: how recordings are varied.
            said: the phones of each recording by its id.
        """
        super().__init__()
        self.model = model
        self.variation = variation
        index = {label: number for number, label in enumerate(LABELS)}
        self.said = {
            name: torch.tensor([index[phone] for phone in phones], dtype=torch.int64)
            for name, phones in said.items()
        }

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Loss of a batch; where a recording is too short for its phones it counts for nothing."""
        wanted = [self.said[cut_id] for cut_id in batch.cut_ids]
        logits = self.heard(batch, draws)
        count = sum(len(phones) for phones in wanted)
        spelt = [spelled(row) for row in logits.detach()]
        return Loss(
            ctc(logits, wanted).sum(),
            count,
            {"phone_error_rate": torch.tensor(error_rate(spelt, wanted))},
        )

    def heard(self, batch: Batch, draws: Draws) -> Tensor:
        """Logits (batch, frames, labels) of the recordings, each varied by its own draws."""
        rngs = draws.rows(batch.rows)
        waveform = with_tail(batch.waveform, batch.num_samples, self.model.body.hop_samples)
        varied = [
            self.variation.vary(row, 0, rng)
            for row, rng in zip(waveform.cpu().numpy(), rngs, strict=True)
        ]
        with striped(self.model, self.variation.config.stripes, rngs):
            logits: Tensor = self.model(torch.from_numpy(np.stack(varied)).to(waveform.device))
        return logits


def ctc(logits: Tensor, wanted: Sequence[Tensor]) -> Tensor:
    """Loss of each row, 0 where there are too few frames for the labels.

    Args:
        logits: (batch, frames, labels).
        wanted: int64 (labels,) of each row, maybe none.

    Returns:
        (batch,), minus the log of the probability of all paths that spell what is wanted.
    """
    return functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        torch.cat(list(wanted)).to(logits.device),
        torch.full((len(logits),), logits.shape[1]),
        torch.tensor([len(phones) for phones in wanted]),
        zero_infinity=True,
        reduction="none",
    )


def spelled(scores: Tensor) -> list[int]:
    """What CTC spells: (frames, labels) to the numbers of the best labels, without repeats and
    blanks."""
    best = torch.unique_consecutive(scores.argmax(-1))
    return [number for number in best.tolist() if LABELS[number] != BLANK]


def phone_error_rate(
    model: PhoneModel, cuts: CutSet, packed: PackedAudio, said: Mapping[str, Sequence[str]]
) -> float:
    """Edits that make the phones heard those that were said, over the latter's number."""
    model.eval()
    device = next(model.parameters()).device
    index = {label: number for number, label in enumerate(LABELS)}
    heard, wanted = [], []
    for batch in FixedBatches(cuts, packed, batch_size=32):
        with torch.inference_mode():
            logits = rows_of(model, batch.waveform.to(device), batch.num_samples)
        heard += [spelled(row.cpu()) for row in logits]
        wanted += [[index[phone] for phone in said[cut_id]] for cut_id in batch.cut_ids]
    return error_rate(heard, wanted)


def rows_of(model: PhoneModel, waveform: Tensor, num_samples: Sequence[int]) -> list[Tensor]:
    """Logits (frames, labels) of each recording as it is, to the end of the silence after it.

    Args:
        model: in eval mode, or rows would depend on one another.
        waveform: (batch, samples), zeros past a row's length.
        num_samples: that length.
    """
    hop_samples = model.body.hop_samples
    logits = model(with_tail(waveform, num_samples, hop_samples))
    return [
        row[: -(-(length + TAIL_SAMPLES) // hop_samples)]
        for row, length in zip(logits, num_samples, strict=True)
    ]


def with_tail(waveform: Tensor, num_samples: Sequence[int], hop_samples: int) -> Tensor:
    """(batch, samples), silence after the longest recording and all others, in whole frames."""
    most = -(-(max(num_samples) + TAIL_SAMPLES) // hop_samples) * hop_samples
    return functional.pad(waveform, (0, most - waveform.shape[1]))


def error_rate(heard: Sequence[Sequence[int]], wanted: Sequence[Any]) -> float:
    """Edits that make sequences of labels' numbers the wanted ones, over the latter's lengths."""
    edits = sum(
        Levenshtein.distance(found, list(map(int, phones)))
        for found, phones in zip(heard, wanted, strict=True)
    )
    return edits / max(1, sum(len(phones) for phones in wanted))
