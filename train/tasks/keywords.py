"""Keyword spotting as classification of short clips: the head, its training and its score."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT
from ..data.audio import PackedAudio
from ..data.augment import fit_length, gain, mix_noise, shift
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


def save_keywords(folder: Path, model: KeywordModel) -> None:
    """Write a keyword model's checkpoint."""
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AugmentConfig:
    """How training clips are varied, so that a stream of windows holds no surprise."""

    max_shift_ms: int = 100
    """A clip moves by up to this either way; the gap is silence."""
    noise_prob: float = 0.5
    """Share of clips mixed with a stretch of noise, in [0, 1]."""
    lowest_snr_db: float = 5.0
    """Loudest noise, against the clip's own power."""
    highest_snr_db: float = 25.0
    """Faintest noise."""
    max_gain_db: float = 6.0
    """A clip grows louder or fainter by up to this."""
    max_lead_ms: int = 0
    """Up to this much is heard before the window, as long for all rows of an update: for causal
    bodies, which otherwise would only ever know the first second of a stream."""
    lead_prob: float = 0.75
    """Share of rows whose lead is the end of another clip, in [0, 1]; that of the rest is silence,
    with what noise the row is mixed with."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.noise_prob <= 1.0 or self.max_shift_ms < 0 or self.max_gain_db < 0:
            raise ValueError(
                "noise_prob must lie in [0, 1], max_shift_ms and max_gain_db be 0 or more; got "
                f"{self.noise_prob}, {self.max_shift_ms}, {self.max_gain_db}"
            )
        if not 0.0 <= self.lead_prob <= 1.0 or self.max_lead_ms < 0:
            raise ValueError(
                "lead_prob must lie in [0, 1] and max_lead_ms be 0 or more, got "
                f"{self.lead_prob}, {self.max_lead_ms}"
            )
        if self.lowest_snr_db > self.highest_snr_db:
            raise ValueError(
                f"lowest_snr_db {self.lowest_snr_db} is above highest_snr_db {self.highest_snr_db}"
            )


@dataclasses.dataclass(frozen=True)
class ClipPool:
    """Clips to draw from, read when drawn."""

    packed: PackedAudio
    """Where their audio is."""
    ids: tuple[str, ...]
    """Which; one or more."""

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """One of them, (samples,) in [-1, 1]."""
        return self.packed.waveform(self.ids[rng.integers(len(self.ids))])


class KeywordObjective(Objective):
    """Cross-entropy of augmented clips; the label is judged at the window's end."""

    def __init__(
        self,
        model: KeywordModel,
        augment: AugmentConfig,
        *,
        window_samples: int,
        noises: list[NDArray[np.float32]],
        leads: ClipPool | None,
        label_smoothing: float,
    ) -> None:
        super().__init__()
        self.model = model
        self.augment = augment
        self.window_samples = window_samples
        self.noises = noises
        self.leads = leads
        self.label_smoothing = label_smoothing
        self._index = {label: number for number, label in enumerate(model.labels)}

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Loss and accuracy of a batch of labelled clips."""
        lead_samples = 0
        if self.augment.max_lead_ms:
            # One length for all: rows that begin a stream then go without a state, as streams do.
            most = self.augment.max_lead_ms * SAMPLE_RATE // 1000
            lead_samples = int(draws.update().integers(most + 1))
        rows = [
            self._vary(row, lead_samples, rng)
            for row, rng in zip(
                clips(batch, self.window_samples), draws.rows(batch.rows), strict=True
            )
        ]
        device = batch.waveform.device
        wanted = torch.tensor([self._index[label] for label in batch.labels], device=device)
        logits = self.model(torch.from_numpy(np.stack(rows)).to(device))
        loss = functional.cross_entropy(
            logits, wanted, label_smoothing=self.label_smoothing, reduction="sum"
        )
        accuracy = (logits.detach().argmax(-1) == wanted).float().mean()
        return Loss(loss, len(wanted), {"accuracy": accuracy})

    def _vary(
        self, clip: NDArray[np.float32], lead_samples: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        augment = self.augment
        clip = shift(clip, augment.max_shift_ms * SAMPLE_RATE // 1000, rng)
        if lead_samples:
            clip = np.concatenate([self._lead(lead_samples, rng), clip])
        if self.noises and rng.random() < augment.noise_prob:
            noise = self.noises[rng.integers(len(self.noises))]
            noise = np.roll(fit_length(noise, len(clip)), rng.integers(len(clip)))
            clip = mix_noise(
                clip, noise, rng.uniform(augment.lowest_snr_db, augment.highest_snr_db)
            )
        return gain(clip, rng.uniform(-augment.max_gain_db, augment.max_gain_db))

    def _lead(self, num_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
        lead = np.zeros(num_samples, dtype=np.float32)
        if self.leads is not None and rng.random() < self.augment.lead_prob:
            heard = self.leads.draw(rng)[-num_samples:]
            lead[num_samples - len(heard) :] = heard
        return lead


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
