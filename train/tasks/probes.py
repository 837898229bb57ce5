"""Frozen probes: what a linear model finds in features that nobody touches any more.

Keywords: logistic regression on features averaged over time, one layer. Phones: a linear layer with
CTC on a weighted sum of all layers. Source of the idea and of the weighted sum: SUPERB,
arXiv:2105.01051, section 2; its heads are wider, so its figures are not comparable.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lhotse import CutSet
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

from ..data.audio import PackedAudio
from ..data.batches import FixedBatches
from ..data.selection import partition_of
from ..models.frontend import LogMel
from ..models.wav2vec2 import Wav2Vec2Encoder
from ..seeding import seeded
from .keywords import clips

Extractor = Callable[[Tensor, Tensor], Tensor]
"""(batch, samples) and lengths to features (layers, batch, frames, dim)."""

_BLANK = 0


def encoder_states(encoder: Wav2Vec2Encoder) -> Extractor:
    """Every hidden state of an encoder."""
    encoder.eval()

    @torch.inference_mode()
    def extract(waveform: Tensor, lengths: Tensor) -> Tensor:
        states: tuple[Tensor, ...] = encoder(waveform, lengths).hidden_states
        return torch.stack(states)

    return extract


def log_mel(num_bands: int = 80) -> Extractor:
    """Log-mel at 100 Hz, two frames side by side: 50 Hz as the encoders'; one layer."""
    frontend = LogMel(num_bands)

    @torch.inference_mode()
    def extract(waveform: Tensor, _lengths: Tensor) -> Tensor:
        frames = frontend(waveform)
        paired: Tensor = frames[:, : frames.shape[1] // 2 * 2].unflatten(1, (-1, 2)).flatten(2)
        return paired[None]

    return extract


@dataclass(frozen=True)
class KeywordScore:
    """What the keyword probe found."""

    accuracy: float
    """On the test partition, of the layer chosen on the valid one."""
    layer: int
    """Which one that is, from 0."""


def probe_keywords(
    extract: Extractor,
    cuts: CutSet,
    packed: PackedAudio,
    labels: Sequence[str],
    *,
    window_samples: int = 16_000,
) -> KeywordScore:
    """Fit on the train partition, choose the layer on valid, tell the accuracy on test.

    Args:
        extract: frozen features.
        cuts: labelled clips with partitions.
        packed: their audio.
        labels: the classes; other clips are left out.
        window_samples: clips are centred in it.
    """
    chosen = cuts.filter(lambda cut: cut.supervisions[0].text in labels).to_eager()
    parts = {
        name: _pooled(extract, partition_of(chosen, name), packed, window_samples)
        for name in ("train", "valid", "test")
    }
    best = (-1.0, KeywordScore(0.0, 0))
    for layer in range(len(parts["train"][0])):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        model.fit(parts["train"][0][layer], parts["train"][1])
        valid, test = (
            float(model.score(parts[name][0][layer], parts[name][1])) for name in ("valid", "test")
        )
        if valid > best[0]:
            best = (valid, KeywordScore(test, layer))
    return best[1]


def _pooled(
    extract: Extractor, cuts: CutSet, packed: PackedAudio, window_samples: int
) -> tuple[NDArray[np.float32], list[str]]:
    """Mean and deviation over time (layers, clips, 2 dim), and the clips' labels."""
    rows, labels = [], []
    for batch in FixedBatches(cuts, packed, batch_size=64):
        waveform = torch.from_numpy(np.stack(clips(batch, window_samples)))
        states = extract(waveform, torch.full((len(waveform),), window_samples))
        rows.append(torch.cat([states.mean(2), states.std(2)], -1).numpy())
        labels += batch.labels
    return np.concatenate(rows, axis=1), labels


@dataclass(frozen=True, kw_only=True)
class PhoneProbeConfig:
    """How the phone probe trains."""

    epochs: int = 15
    """Passes over the train cuts."""
    batch_size: int = 32
    """Utterances of a step."""
    learning_rate: float = 1e-2
    """Adam's peak; falls along a cosine to zero."""
    seed: int = 0
    """Of weights and order."""


class PhoneProbe(nn.Module):
    """A weighted sum of layers, each brought to one scale, and a linear layer to phones."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, num_phones: int) -> None:
        """Set up.

        Args:
            mean: (layers, dim) of the train frames.
            scale: (layers, dim), their standard deviation.
            num_phones: classes beside the blank.
        """
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.layer_weights = nn.Parameter(torch.zeros(len(mean)))
        self.classifier = nn.Linear(mean.shape[1], num_phones + 1)

    def forward(self, states: Tensor) -> Tensor:
        """(batch, frames, layers, dim) to log posteriors (batch, frames, num_phones + 1)."""
        weights = self.layer_weights.softmax(0).unsqueeze(-1)
        # The sum of scaled layers, without a scaled copy of all of them.
        mixed = (states * (weights / self.scale)).sum(2) - (weights * self.mean / self.scale).sum(0)
        log_posteriors: Tensor = functional.log_softmax(self.classifier(mixed), -1)
        return log_posteriors


def probe_phones(
    extract: Extractor,
    cuts: CutSet,
    packed: PackedAudio,
    phones: Mapping[str, Sequence[str]],
    config: PhoneProbeConfig = PhoneProbeConfig(),
) -> float:
    """Phone error rate on the test partition after training on the train partition.

    Args:
        extract: frozen features at 50 Hz.
        cuts: utterances with partitions.
        packed: their audio.
        phones: what is said in each cut, by id; cuts without are left out.
        config: how the probe trains.

    Returns:
        substitutions, deletions and insertions over the phones of the test cuts, greedily decoded.
    """
    inventory = sorted({phone for row in phones.values() for phone in row})
    number = {phone: index for index, phone in enumerate(inventory, start=1)}
    parts = {}
    for name in ("train", "test"):
        known = partition_of(cuts, name).filter(lambda cut: cut.id in phones).to_eager()
        parts[name] = [
            (states, torch.tensor([number[phone] for phone in phones[cut_id]]))
            for cut_id, states in _frames(extract, known, packed)
        ]
    with seeded(config.seed):
        probe = PhoneProbe(*_statistics([states for states, _ in parts["train"]]), len(inventory))
        _fit(probe, parts["train"], config)
    return _error_rate(probe, parts["test"])


def _frames(extract: Extractor, cuts: CutSet, packed: PackedAudio) -> list[tuple[str, Tensor]]:
    """Each cut's features without padding: float16 (frames, layers, dim), to keep them all."""
    found = []
    for batch in FixedBatches(cuts, packed, batch_size=16):
        states = extract(batch.waveform, batch.lengths)
        longest = max(batch.num_samples)
        for row, cut_id in enumerate(batch.cut_ids):
            # Frames go with samples: a row's share of the batch's frames, one at least.
            frames = max(1, states.shape[2] * batch.num_samples[row] // longest)
            found.append((cut_id, states[:, row, :frames].transpose(0, 1).to(torch.float16)))
    return found


def _statistics(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over all frames: (layers, dim) each."""
    count = sum(len(row) for row in rows)
    mean = torch.stack([row.float().sum(0) for row in rows]).sum(0) / count
    square = torch.stack([(row.float() - mean).square().sum(0) for row in rows]).sum(0) / count
    return mean, square.sqrt().clamp_min(1e-5)


def _fit(probe: PhoneProbe, rows: list[tuple[Tensor, Tensor]], config: PhoneProbeConfig) -> None:
    order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
    batches = [order[i : i + config.batch_size] for i in range(0, len(order), config.batch_size)]
    optimizer = torch.optim.Adam(probe.parameters(), lr=config.learning_rate)
    steps = config.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(config.epochs):
        for index in torch.randperm(len(batches)).tolist():
            chosen = [rows[row] for row in batches[index]]
            states = nn.utils.rnn.pad_sequence([row.float() for row, _ in chosen], batch_first=True)
            loss = functional.ctc_loss(
                probe(states).transpose(0, 1),
                torch.cat([phones for _, phones in chosen]),
                torch.tensor([len(row) for row, _ in chosen]),
                torch.tensor([len(phones) for _, phones in chosen]),
                blank=_BLANK,
                zero_infinity=True,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def _error_rate(probe: PhoneProbe, rows: list[tuple[Tensor, Tensor]]) -> float:
    errors = total = 0
    for states, phones in rows:
        best = probe(states.float().unsqueeze(0))[0].argmax(-1).unique_consecutive().tolist()
        heard = [phone for phone in best if phone != _BLANK]
        errors += Levenshtein.distance(heard, phones.tolist())
        total += len(phones)
    return errors / total
