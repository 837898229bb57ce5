"""Frozen probes: what a linear model finds in features that nobody touches any more.

Keywords: logistic regression on features averaged over time, one layer. Phones: the same for every
frame of an aligned utterance, on a weighted sum of all layers. Source of the idea and of the
weighted sum: SUPERB, arXiv:2105.01051, section 2; its tasks and heads differ, so do its figures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lhotse import CutSet
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

from ..data.audio import PackedAudio
from ..data.batches import FixedBatches
from ..data.phones import Phone
from ..data.selection import partition_of
from ..models.frontend import LogMel
from ..models.keyword_transformer import KeywordEncoder
from ..models.patches import PatchEncoder
from ..models.wav2vec2 import Wav2Vec2Encoder
from ..seeding import seeded
from ..targets.purity import phones_by_frame
from .keywords import clips

Extractor = Callable[[Tensor, Tensor], Tensor]
"""(batch, samples) and lengths to features (layers, batch, frames, dim)."""

_RATE_HZ = 50
"""Frames a second of every extractor."""


def encoder_states(encoder: Wav2Vec2Encoder) -> Extractor:
    """Every hidden state of an encoder."""
    encoder.eval()

    @torch.inference_mode()
    def extract(waveform: Tensor, lengths: Tensor) -> Tensor:
        states: tuple[Tensor, ...] = encoder(waveform, lengths).hidden_states
        return torch.stack(states)

    return extract


def patch_states(encoder: PatchEncoder, *, apart: bool = False) -> Extractor:
    """Every hidden state of a patch encoder that is shown all patches, at 50 Hz.

    The tokens of one time, a column of the spectrogram, give one vector; the column lasts longer
    than 20 ms, so the vector is repeated. The CLS token is left out.

    Args:
        encoder: is put in eval mode.
        apart: a column's tokens stand side by side, low bands first, `patches_per_column` times
            `embed_dim` numbers, which shows the probe the spectrogram itself in layer 0; False:
            their mean, in which a band is known only by what its token says of it.

    Raises:
        ValueError: patches that do not last a multiple of 20 ms.
    """
    encoder.eval()
    config = encoder.config
    if config.patch_frames % 2:
        raise ValueError(f"patches must last a multiple of 20 ms, got {config.patch_frames}0 ms")

    @torch.inference_mode()
    def extract(waveform: Tensor, lengths: Tensor) -> Tensor:
        output = encoder(waveform, lengths)
        states = torch.stack([*output.hidden_states[:-1], output.normed])
        patches = states[:, :, int(config.cls_token) :]
        columns = patches.unflatten(2, (-1, config.patches_per_column))
        columns = columns.flatten(3) if apart else columns.mean(3)
        frames: Tensor = columns.repeat_interleave(config.patch_frames // 2, dim=2)
        return frames

    return extract


def keyword_states(encoder: KeywordEncoder) -> Extractor:
    """Every hidden state of a Keyword Transformer's frames, for the keyword probe alone.

    They come as often as its front end's, 100 a second, not 50.
    """
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

    epochs: int = 5
    """Passes over the train frames."""
    batch_size: int = 512
    """Frames of a step."""
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
            num_phones: classes.
        """
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.layer_weights = nn.Parameter(torch.zeros(len(mean)))
        self.classifier = nn.Linear(mean.shape[1], num_phones)

    def forward(self, states: Tensor) -> Tensor:
        """(frames, layers, dim) to logits (frames, num_phones)."""
        weights = self.layer_weights.softmax(0).unsqueeze(-1)
        # The sum of scaled layers, without a scaled copy of all of them.
        mixed = (states * (weights / self.scale)).sum(1) - (weights * self.mean / self.scale).sum(0)
        logits: Tensor = self.classifier(mixed)
        return logits


def probe_phones(
    extract: Extractor,
    cuts: CutSet,
    packed: PackedAudio,
    alignments: Mapping[str, Sequence[Phone]],
    config: PhoneProbeConfig = PhoneProbeConfig(),
) -> float:
    """Accuracy over the test partition's frames after training on the train partition's.

    Args:
        extract: frozen features at 50 Hz.
        cuts: utterances with partitions.
        packed: their audio.
        alignments: phones of each cut, by id; cuts without, and frames without, are left out.
        config: how the probe trains.

    Returns:
        share of frames whose phone is told, in [0, 1].
    """
    inventory = sorted({phone for phones in alignments.values() for phone, _, _ in phones})
    number = {phone: index for index, phone in enumerate(inventory)}
    frames = {}
    for name in ("train", "test"):
        known = partition_of(cuts, name).filter(lambda cut: cut.id in alignments).to_eager()
        frames[name] = _frames(extract, known, packed, alignments, number)
    with seeded(config.seed):
        states, phones = frames["train"]
        probe = PhoneProbe(*_statistics(states), len(inventory))
        _fit(probe, states, phones, config)
    states, phones = frames["test"]
    with torch.inference_mode():
        told = torch.cat([probe(some.float()).argmax(-1) for some in states.split(4096)])
    return float((told == phones).float().mean())


def _frames(
    extract: Extractor,
    cuts: CutSet,
    packed: PackedAudio,
    alignments: Mapping[str, Sequence[Phone]],
    number: Mapping[str, int],
) -> tuple[Tensor, Tensor]:
    """Frames that have a phone: features in float16 (frames, layers, dim), and which it is."""
    states, phones = [], []
    for batch in FixedBatches(cuts, packed, batch_size=16):
        made = extract(batch.waveform, batch.lengths)
        for row, cut_id in enumerate(batch.cut_ids):
            labels = phones_by_frame(alignments[cut_id], made.shape[2], _RATE_HZ)
            known = [frame for frame, phone in enumerate(labels) if phone is not None]
            states.append(made[:, row, known].transpose(0, 1).to(torch.float16))
            phones += [number[labels[frame] or ""] for frame in known]
    return torch.cat(states), torch.tensor(phones)


def _statistics(states: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over frames: (layers, dim) each."""
    parts = states.split(4096)
    mean = torch.stack([part.float().sum(0) for part in parts]).sum(0) / len(states)
    square = torch.stack([(part.float() - mean).square().sum(0) for part in parts]).sum(0)
    return mean, (square / len(states)).sqrt().clamp_min(1e-5)


def _fit(probe: PhoneProbe, states: Tensor, phones: Tensor, config: PhoneProbeConfig) -> None:
    optimizer = torch.optim.Adam(probe.parameters(), lr=config.learning_rate)
    steps = config.epochs * -(-len(phones) // config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(config.epochs):
        for chosen in torch.randperm(len(phones)).split(config.batch_size):
            loss = functional.cross_entropy(probe(states[chosen].float()), phones[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
