"""Clips that keyword models out of a supernet are settled on and scored on, the same for all."""

from dataclasses import dataclass, field

import numpy as np
import torch
from lhotse import CutSet
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from train.data.batches import FixedBatches
from train.data.cuts import label_of
from train.data.selection import partition_of
from train.errors import DataError
from train.labelled import Clips
from train.tasks.keywords import clips as windows

from .heard_once import heard_once

_BATCH = 64
SETTLING_CLIPS = 512
"""Of the train partition; a mean over as many moves little with more."""


@dataclass(frozen=True)
class LabelledWindows:
    """Clips as the models of a space hear them, without variation."""

    waveforms: tuple[Tensor, ...]
    """(batch, window_samples) each."""
    wanted: Tensor
    """int (clips,): numbers of labels."""
    _features: tuple[list[Tensor], ...] = field(init=False)
    """What the front end gave for each batch, once it did."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_features", tuple([] for _ in self.waveforms))

    @torch.no_grad()
    def logits(self, model: nn.Module) -> Tensor:
        """(clips, labels) by a model, in the mode that it is in."""
        answers = []
        for waveform, features in zip(self.waveforms, self._features, strict=True):
            with heard_once(model, features):
                answers.append(model(waveform))
        return torch.cat(answers)

    def loss(self, model: nn.Module) -> float:
        """Mean cross-entropy in nats a clip: of two models with as many errors, it tells which is
        surer of what is right."""
        return float(functional.cross_entropy(self.logits(model), self.wanted))

    def accuracy(self, model: nn.Module) -> float:
        """Share of clips whose label has the largest logit."""
        return float((self.logits(model).argmax(-1) == self.wanted).float().mean())


def settle_norms(model: nn.Module, heard: LabelledWindows) -> None:
    """Estimate running statistics anew, each as its mean over batches.

    Args:
        model: left in eval mode. Without such norms, nothing is run.
        heard: what it hears for it.
    """
    model.eval()
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    heard.logits(model)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def drawn(
    clips: Clips, partition: str, most: int | None, *, window_samples: int, seed: int
) -> LabelledWindows:
    """Clips of a partition, in the middle of a window each.

    Args:
        clips: of a training.
        partition: `train` (those that are learned from), `valid` or `test`.
        most: more are drawn from by the seed; None: all.
        window_samples: of the model.
        seed: 0 or more.

    Raises:
        DataError: there are none.
    """
    cuts = clips.train if partition == "train" else partition_of(clips.cuts, partition)
    if not len(cuts):
        raise DataError(
            f"the corpus has no clips of the labels in its {partition} partition; give one that has"
        )
    cuts = _some(cuts, most, seed)
    number = {label: index for index, label in enumerate(clips.labels)}
    wanted = {cut.id: number[label_of(cut)] for cut in cuts}
    waveforms, order = [], []
    for batch in FixedBatches(cuts, clips.packed, batch_size=_BATCH):
        waveforms.append(torch.from_numpy(np.stack(windows(batch, window_samples))))
        order += [wanted[cut_id] for cut_id in batch.cut_ids]
    return LabelledWindows(tuple(waveforms), torch.tensor(order))


def _some(cuts: CutSet, most: int | None, seed: int) -> CutSet:
    if most is None or len(cuts) <= most:
        return cuts
    chosen = np.random.default_rng(seed).permutation(len(cuts))[:most]
    ids = list(cuts.ids)
    return cuts.subset(cut_ids=[ids[index] for index in np.sort(chosen)])
