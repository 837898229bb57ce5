"""A task's loss with a frozen probe: how much of the labels a linear model finds in a subnet.

Labelled clips are encoded without masks; mean and deviation of the last hidden state over time go
to a logistic regression, fitted on the train partition. The score is its cross-entropy on the valid
partition in nats: of two subnets with as many errors, the one that is surer of what is right wins.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from train.data.batches import Batch, FixedBatches
from train.data.cuts import label_of

from ...subnet import Subnet
from .. import SearchError
from ..shared import Encoded, SharedFeatures
from . import Scorer, Setting
from ._clips import held_out

_BATCH = 16
_TRAIN_CLIPS = 4
"""Clips that the probe is fitted on, for each one it is scored on."""

_log = logging.getLogger(__name__)


def build(setting: Setting) -> Scorer:
    """Choose labelled clips of the two partitions.

    Raises:
        SearchError: fewer than two labels, or a label of the valid clips that no train clip has.
    """
    train = _batches(setting, "train", _TRAIN_CLIPS * setting.num_clips)
    valid = _batches(setting, "valid", setting.num_clips)
    known, asked = set(_labels(train)), set(_labels(valid))
    if len(known) < 2 or not asked <= known:
        raise SearchError(
            f"the probe needs two labels or more in the train partition, all those of valid among "
            f"them; train has {sorted(known)}, valid {sorted(asked)}. Take --scorer distillation "
            "for unlabelled audio, or more --num-clips."
        )
    shared = SharedFeatures(setting.supernet, [*train, *valid])
    _log.info("scoring a probe on %d labelled clips", len(_labels(valid)))

    def score(subnet: Subnet) -> float:
        """Cross-entropy on the valid clips."""
        rows = [_pooled(encoded) for encoded in shared.encode(subnet)]
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        model.fit(np.concatenate(rows[: len(train)]), _labels(train))
        told = model.predict_proba(np.concatenate(rows[len(train) :]))
        return float(log_loss(_labels(valid), told, labels=model.classes_))

    return score


def _batches(setting: Setting, partition: str, most: int) -> list[Batch]:
    cuts = held_out(setting, partition, most=most).filter(label_of).to_eager()
    return list(FixedBatches(cuts, setting.packed, batch_size=_BATCH))


def _labels(batches: Sequence[Batch]) -> list[str]:
    return [label for batch in batches for label in batch.labels]


def _pooled(encoded: Encoded) -> NDArray[np.float32]:
    """(clips, 2 embed_dim), padding left out."""
    rows = []
    for row, hidden in enumerate(encoded.output):
        if encoded.padding_mask is not None:
            hidden = hidden[~encoded.padding_mask[row]]
        rows.append(torch.cat([hidden.mean(0), hidden.std(0, correction=0)]))
    pooled: NDArray[np.float32] = torch.stack(rows).numpy()
    return pooled
