"""wav2vec 2.0: tell each hidden frame's quantized self from others of its utterance.

Source: arXiv:2006.11477, sections 2 and 3.
"""

from dataclasses import dataclass as plain_dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT, MaskConfig, OneRoundRecipe
from ..data.batches import Batch
from ..models.wav2vec2 import EncoderOutput, Wav2Vec2Encoder
from ..models.wav2vec2_config import Wav2Vec2Config
from ..seeding import Draws
from ..targets.quantizer import GumbelQuantizer
from . import Loss, Objective
from ._parts import check_mask_embedding, feature_penalty, frame_mask, unmixed


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Recipe(OneRoundRecipe):
    """wav2vec 2.0 pretraining; the defaults are Base's."""

    objective: Literal["wav2vec2"]
    """The paper that this recipe follows."""
    encoder: Wav2Vec2Config
    """The teacher's sizes."""
    mask: MaskConfig = MaskConfig(prob=0.65)
    """Frames that are hidden."""
    groups: int = 2
    """Code books."""
    entries: int = 320
    """Entries of each code book."""
    final_dim: int = 256
    """Width of the entries together, and in which frames meet them; a multiple of `groups`."""
    num_negatives: int = 100
    """Other hidden frames that each is told apart from."""
    temperature: float = 0.1
    """Cosines are divided by this."""
    gumbel_start: float = 2.0
    """Temperature of the quantizer at the first update."""
    gumbel_end: float = 0.5
    """Its least temperature."""
    gumbel_decay: float = 0.999995
    """Its factor from one update to the next."""
    diversity_weight: float = 0.1
    """Weight of the share of entries that go unused."""
    feature_penalty: float = 10.0
    """Weight of the mean square of the conv features."""
    features_dropout: float = 0.1
    """On what is quantized, in [0, 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mask_embedding(self.encoder, self.objective)
        if min(self.groups, self.entries, self.num_negatives) < 1:
            raise ValueError("groups, entries and num_negatives must be 1 or more")
        if self.final_dim < 1 or self.final_dim % self.groups:
            raise ValueError(f"final_dim {self.final_dim} must be a multiple of groups")
        if min(self.temperature, self.gumbel_start, self.gumbel_end, self.gumbel_decay) <= 0:
            raise ValueError("temperatures and gumbel_decay must be positive")
        if min(self.diversity_weight, self.feature_penalty) < 0:
            raise ValueError("diversity_weight and feature_penalty must be 0 or more")
        if not 0.0 <= self.features_dropout < 1.0:
            raise ValueError(f"features_dropout must lie in [0, 1), got {self.features_dropout}")

    def gumbel_temperature(self, update: int) -> float:
        """The quantizer's temperature at an update counted from 0."""
        return max(self.gumbel_start * self.gumbel_decay**update, self.gumbel_end)


@plain_dataclass(frozen=True)
class Contest:
    """Which hidden frames are scored, and against which others; counted on the CPU."""

    places: NDArray[np.int64]
    """(2, hidden): row and frame of each, row by row."""
    slots: NDArray[np.int64]
    """(batch, widest): which of them stands there, 0 where a row has fewer."""
    filler: NDArray[np.bool_]
    """(batch, widest), True where a row has fewer."""
    negatives: NDArray[np.int64]
    """(batch, widest, num_negatives): columns of `slots` in the same row."""


class Wav2Vec2(Objective):
    """Cosines to quantized frames, cross-entropy over one positive and its negatives."""

    def __init__(self, encoder: Wav2Vec2Encoder, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = encoder
        self.recipe = recipe
        channels = encoder.config.conv_layers[-1].channels
        self.features_dropout = nn.Dropout(recipe.features_dropout)
        self.quantizer = GumbelQuantizer(
            channels, recipe.final_dim, groups=recipe.groups, entries=recipe.entries
        )
        self.project_q = nn.Linear(recipe.final_dim, recipe.final_dim)
        self.final_proj = nn.Linear(encoder.config.embed_dim, recipe.final_dim)

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Contrastive loss summed over hidden frames, with diversity and feature penalty."""
        recipe = self.recipe
        hidden = frame_mask(batch, self.encoder.config, recipe.mask, draws)
        # Children of the rows' generators: these draw anew what has drawn the mask already.
        rngs = [rng.spawn(1)[0] for rng in draws.rows(batch.rows)]
        contest = draw_negatives(hidden, recipe.num_negatives, rngs)
        device = batch.waveform.device
        output = self.encoder(
            batch.waveform, batch.padded_lengths, torch.from_numpy(hidden).to(device)
        )
        temperature = recipe.gumbel_temperature(draws.step)
        contrastive, diversity, parts = self.contrast(output, contest, temperature)
        penalty = feature_penalty(output.conv_features, output.padding_mask)
        count = contest.places.shape[1]
        total = contrastive + count * (
            recipe.diversity_weight * diversity + recipe.feature_penalty * penalty
        )
        parts |= {
            "feature_penalty": penalty.detach(),
            "mask_fraction": torch.tensor(float(hidden.mean())),
            "gumbel_temperature": torch.tensor(temperature),
        }
        return Loss(total, count, parts)

    def contrast(
        self, output: EncoderOutput, contest: Contest, temperature: float
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Score hidden frames.

        Args:
            output: of the encoder, with the contest's frames hidden.
            contest: frames and their negatives.
            temperature: of the quantizer.

        Returns:
            cross-entropy summed over hidden frames, the share of entries that go unused, and
            scalars for the log.
        """
        device = output.output.device
        rows, frames = torch.from_numpy(contest.places).to(device)
        quantized = self.quantizer(
            self.features_dropout(output.normed_features[rows, frames]), temperature
        )
        targets = functional.normalize(self.project_q(quantized.vectors).float(), dim=-1)
        context = functional.normalize(self.final_proj(output.output[rows, frames]).float(), dim=-1)
        slots = torch.from_numpy(contest.slots).to(device)
        negatives = torch.from_numpy(contest.negatives).to(device)
        # Every hidden frame against every other of its utterance is far less to compute and to
        # keep than a table of negatives' vectors: the cosines that are asked for are picked out.
        # The vector of zeros at the end is what slots name where no frame is hidden.
        context, targets = (functional.pad(vectors, (0, 0, 0, 1)) for vectors in (context, targets))
        with unmixed(device):
            cosines = context[slots] @ targets[slots].transpose(1, 2)  # (batch, widest, widest)
        codes = functional.pad(quantized.codes, (0, 1))[slots]
        same = codes.unsqueeze(1) == codes.unsqueeze(2)
        others = cosines.masked_fill(same, float("-inf")).gather(2, negatives)
        positive = cosines.diagonal(dim1=1, dim2=2).unsqueeze(-1)
        logits = torch.cat([positive, others], -1) / self.recipe.temperature
        wanted = torch.from_numpy(np.where(contest.filler, -100, 0)).to(device)
        logits = logits.flatten(0, 1)
        entropy = functional.cross_entropy(logits, wanted.flatten(), reduction="sum")
        hits = (logits.detach().argmax(-1) == wanted.flatten()).float().sum()
        count = max(contest.places.shape[1], 1)
        num_entries = self.recipe.groups * self.recipe.entries
        diversity = (num_entries - quantized.soft_perplexity) / num_entries
        return entropy, diversity, {
            "contrastive": entropy.detach() / count,
            "diversity": diversity.detach(),
            "masked_accuracy": hits / count,
            "code_perplexity": quantized.hard_perplexity.detach(),
            "soft_perplexity": quantized.soft_perplexity.detach(),
        }  # fmt: skip


build = Wav2Vec2


def draw_negatives(
    hidden: NDArray[np.bool_], num_negatives: int, rngs: list[np.random.Generator]
) -> Contest:
    """Draw each hidden frame's negatives among the other hidden frames of its utterance.

    Args:
        hidden: bool (batch, frames).
        num_negatives: for each frame, drawn with replacement.
        rngs: one for each row.

    Returns:
        the contest; a row with a single hidden frame has nothing to be told apart from and is
        left out.
    """
    hidden = hidden & (hidden.sum(1, keepdims=True) > 1)
    counts = hidden.sum(1)
    widest = max(int(counts.max()), 1)
    filler = np.arange(widest) >= counts[:, None]
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    slots = np.where(filler, 0, first[:, None] + np.arange(widest))
    negatives = np.zeros((len(hidden), widest, num_negatives), dtype=np.int64)
    for row, (count, rng) in enumerate(zip(counts, rngs, strict=True)):
        if count:
            drawn = rng.integers(0, count - 1, size=(count, num_negatives))
            negatives[row, :count] = drawn + (drawn >= np.arange(count)[:, None])
    return Contest(np.stack(np.nonzero(hidden)), slots, filler, negatives)
