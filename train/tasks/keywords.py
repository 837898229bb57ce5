"""Keyword spotting as classification of short clips: the head, its training and its score."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..data.audio import PackedAudio
from ..data.augment import fit_length
from ..data.batches import Batch, FixedBatches
from ..errors import TrainError
from ..models.checkpoints import load_checkpoint, restore, save_checkpoint
from ..models.frontend import SAMPLE_RATE
from ..models.wav2vec2 import Wav2Vec2Encoder
from ..models.wav2vec2_config import Wav2Vec2Config
from ..nearest import nearest
from ..objectives import Loss, Objective
from ..recipe import check
from ..seeding import Draws
from .augmenting import Variation, striped
from .bodies import BODIES, ENCODER, Body, name_of
from .streaming_encoder import StreamingPooledEncoder

FAMILY = "keywords"


class PooledEncoder(nn.Module):
    """An encoder as one vector a clip: its layers weighted, its frames averaged.

    Source of the weighted sum: SUPERB, arXiv:2105.01051, section 2.
    """

    def __init__(self, encoder: Wav2Vec2Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.layer_weights = nn.Parameter(torch.zeros(encoder.config.num_layers + 1))

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        return self.encoder.config.embed_dim

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) to (batch, embed_dim)."""
        output = self.encoder(waveform, lengths)
        weights = self.layer_weights.softmax(0)
        hidden = torch.stack(output.hidden_states)  # (layers + 1, batch, frames, embed_dim)
        mixed = (hidden * weights.view(-1, 1, 1, 1)).sum(0)
        valid = torch.ones_like(mixed[:, :, :1])
        if output.padding_mask is not None:
            valid = (~output.padding_mask).unsqueeze(-1).to(mixed.dtype)
        pooled: Tensor = (mixed * valid).sum(1) / valid.sum(1)
        return pooled


def pooled(encoder: Wav2Vec2Encoder) -> PooledEncoder | StreamingPooledEncoder:
    """An encoder as a body, which streams where the encoder does."""
    if encoder.config.streaming is None:
        return PooledEncoder(encoder)
    return StreamingPooledEncoder(encoder)


class KeywordModel(nn.Module):
    """A body that makes one vector of a clip, and a linear layer over it."""

    def __init__(self, body: Body, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.body = body
        self.labels = labels
        self.classifier = nn.Linear(body.output_dim, len(labels))

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) in [-1, 1] to logits (batch, labels)."""
        logits: Tensor = self.classifier(self.body(waveform, lengths))
        return logits


def save_keywords(
    folder: Path, model: KeywordModel, *, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a keyword model's checkpoint; `provenance` says in JSON values what it was made from.

    None: its run folder says it.
    """
    body: Any = model.body
    name, config = (
        (ENCODER, body.encoder.config)
        if isinstance(body, PooledEncoder | StreamingPooledEncoder)
        else (name_of(body), body.config)
    )
    record = {
        "family": FAMILY,
        "labels": list(model.labels),
        "body": name,
        "sizes": dataclasses.asdict(config),
        **({} if provenance is None else {"provenance": dict(provenance)}),
    }
    save_checkpoint(folder, record, model.state_dict())


def load_keywords(folder: Path) -> KeywordModel:
    """Read a keyword model back, every tensor accounted for.

    Raises:
        TrainError: there is none, it is damaged, or of another family.
    """
    config, state = load_checkpoint(folder, FAMILY, "labels", "body", "sizes")
    source, name = f"{folder}/config.json", config["body"]
    body: Any
    if name == ENCODER:
        body = pooled(Wav2Vec2Encoder(check(config["sizes"], Wav2Vec2Config, source)))
    elif name in BODIES:
        kind = BODIES[name]
        body = kind.build(check(config["sizes"], kind.config, source))
    else:
        raise TrainError(f"{source}: there is no body {name!r}; {nearest(str(name), BODIES)}")
    model = KeywordModel(body, tuple(config["labels"]))
    restore(model, state, folder)
    return model


class KeywordObjective(Objective):
    """Cross-entropy of augmented clips; the label is judged at the window's end."""

    def __init__(
        self,
        model: KeywordModel,
        variation: Variation,
        *,
        window_samples: int,
        label_smoothing: float,
    ) -> None:
        super().__init__()
        self.model = model
        self.variation = variation
        self.window_samples = window_samples
        self.label_smoothing = label_smoothing
        self._index = {label: number for number, label in enumerate(model.labels)}

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Loss and accuracy of a batch of labelled clips."""
        waveform, wanted, rngs = self.varied(batch, draws)
        with striped(self.model, self.variation.config.stripes, rngs):
            logits = self.model(waveform)
        loss = functional.cross_entropy(
            logits, wanted, label_smoothing=self.label_smoothing, reduction="sum"
        )
        accuracy = (logits.detach().argmax(-1) == wanted).float().mean()
        return Loss(loss, len(wanted), {"accuracy": accuracy})

    def varied(
        self, batch: Batch, draws: Draws
    ) -> tuple[Tensor, Tensor, list[np.random.Generator]]:
        """Another take of each clip: (batch, samples), its label's number, and its generator."""
        config, lead_samples = self.variation.config, 0
        if config.max_lead_ms:
            # One length for all: rows that begin a stream then go without a state, as streams do.
            most = config.max_lead_ms * SAMPLE_RATE // 1000
            lead_samples = int(draws.update().integers(most + 1))
        rngs = draws.rows(batch.rows)
        rows = [
            self.variation.vary(row, lead_samples, rng)
            for row, rng in zip(clips(batch, self.window_samples), rngs, strict=True)
        ]
        device = batch.waveform.device
        wanted = torch.tensor([self._index[label] for label in batch.labels], device=device)
        return torch.from_numpy(np.stack(rows)).to(device), wanted, rngs


def clips(batch: Batch, window_samples: int) -> list[NDArray[np.float32]]:
    """Each row without its padding, centred in a window of (window_samples,)."""
    waveforms = batch.waveform.cpu().numpy()
    return [
        fit_length(waveform[:length], window_samples)
        for waveform, length in zip(waveforms, batch.num_samples, strict=True)
    ]


def predict(
    model: KeywordModel, cuts: CutSet, packed: PackedAudio, *, window_samples: int
) -> NDArray[np.float32]:
    """Posteriors (cuts, labels) of clips as they are, in the cuts' order."""
    model.eval()
    device = next(model.parameters()).device
    by_cut: dict[str, NDArray[np.float32]] = {}
    for batch in FixedBatches(cuts, packed, batch_size=64):
        waveform = torch.from_numpy(np.stack(clips(batch, window_samples))).to(device)
        with torch.inference_mode():
            rows = model(waveform).softmax(-1).cpu().numpy()
        by_cut.update(zip(batch.cut_ids, rows, strict=True))
    return np.stack([by_cut[cut_id] for cut_id in cuts.ids])


def confusion(
    posteriors: NDArray[np.float32], wanted: list[str], labels: tuple[str, ...]
) -> NDArray[np.int64]:
    """Counts (labels, labels): a row is what was said, a column what was heard."""
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for row, label in zip(posteriors.argmax(1), wanted, strict=True):
        counts[labels.index(label), row] += 1
    return counts
