"""Keyword spotting in running sound: a causal body judged at every frame, and what it hears."""

import numpy as np
import torch
from lhotse import CutSet
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..data.audio import PackedAudio
from ..data.batches import Batch, FixedBatches
from ..data.running import Words
from ..models.streaming import initial
from ..objectives import Loss, Objective
from ..seeding import Draws
from .augmenting import striped
from .bodies import CausalBody
from .keywords import KeywordModel
from .running import IGNORED, NOTHING, Stage, frame_labels, strongest


class SpottingObjective(Objective):
    """Cross-entropy at every frame of scenes that are made of a batch's words."""

    def __init__(
        self, model: KeywordModel, stage: Stage, words: Words, *, label_smoothing: float
    ) -> None:
        super().__init__()
        assert isinstance(model.body, CausalBody)
        self.model = model
        self.stage = stage
        self.words = words
        self.label_smoothing = label_smoothing
        self._hop_samples = model.body.hop_samples
        self._window_samples = model.body.window_samples
        self._index = {label: number for number, label in enumerate(model.labels)}

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Loss of a batch of words; shares of keywords told and of other frames told one."""
        config, rngs = self.stage.config, draws.rows(batch.rows)
        num_samples = config.scene_samples // self._hop_samples * self._hop_samples
        rows, wanted = [], []
        for number, rng in enumerate(rngs):
            clip = batch.waveform[number, : batch.num_samples[number]].cpu().numpy()
            span = self.words.spans[batch.cut_ids[number]]
            scene = self.stage.scene(clip, span, num_samples, rng)
            rows.append(scene.waveform)
            wanted.append(
                frame_labels(
                    scene,
                    self._index[batch.labels[number]],
                    config,
                    hop_samples=self._hop_samples,
                    window_samples=self._window_samples,
                )
            )
        device = batch.waveform.device
        labels = torch.from_numpy(np.stack(wanted)).to(device)  # (rows, frames)
        with striped(self.model, self.stage.augment.stripes, rngs):
            logits = every_frame(self.model, torch.from_numpy(np.stack(rows)).to(device))
        each = functional.cross_entropy(
            logits.transpose(1, 2),
            labels,
            label_smoothing=self.label_smoothing,
            ignore_index=IGNORED,
            reduction="none",
        )
        weights = torch.where(labels > NOTHING, config.keyword_weight, 1.0)
        weights = weights * (labels != IGNORED)
        count = float(weights.sum())
        if config.focus:
            posteriors = logits.detach().softmax(-1)
            right = posteriors.gather(-1, labels.clamp_min(NOTHING).unsqueeze(-1)).squeeze(-1)
            weights = weights * (1.0 - right) ** config.focus
        return Loss((each * weights).sum(), count, _shares(logits.detach(), labels))


def every_frame(model: KeywordModel, waveform: Tensor) -> Tensor:
    """Logits (batch, frames, labels) of recordings (batch, samples), whole numbers of frames."""
    body = model.body
    assert isinstance(body, CausalBody)
    states = initial(body.shapes(), waveform.shape[0], like=waveform)
    vectors, _ = body.stream(waveform, states)
    logits: Tensor = model.classifier(vectors)
    return logits


def hear_recordings(
    model: KeywordModel, cuts: CutSet, packed: PackedAudio, *, late_samples: int
) -> NDArray[np.float32]:
    """What is heard in each recording as a whole, with silence after it: (cuts, labels).

    Args:
        model: of a causal body, its first label the one of nothing.
        cuts: recordings of a keyword or of none.
        packed: their audio.
        late_samples: how long after its end a keyword may be told.
    """
    model.eval()
    body = model.body
    assert isinstance(body, CausalBody)
    device = next(model.parameters()).device
    by_cut: dict[str, NDArray[np.float32]] = {}
    for batch in FixedBatches(cuts, packed, batch_size=32):
        most = max(batch.num_samples) + late_samples
        most = -(-most // body.hop_samples) * body.hop_samples
        waveform = functional.pad(batch.waveform, (0, most - batch.waveform.shape[1]))
        with torch.inference_mode():
            posteriors = every_frame(model, waveform.to(device)).softmax(-1).cpu().numpy()
        lengths = [length + late_samples for length in batch.num_samples]
        rows = strongest(posteriors, lengths, body.hop_samples)
        by_cut.update(zip(batch.cut_ids, rows, strict=True))
    return np.stack([by_cut[cut_id] for cut_id in cuts.ids])


def _shares(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Share of scenes whose keyword is told, and of frames without one where one is told."""
    told, keyword = logits.argmax(-1), labels > NOTHING
    said = keyword.any(1)
    heard = ((told == labels) & keyword).any(1)
    other = labels == NOTHING
    return {
        "told": (heard & said).sum() / said.sum().clamp_min(1),
        "false": ((told != NOTHING) & other).sum() / other.sum().clamp_min(1),
    }
