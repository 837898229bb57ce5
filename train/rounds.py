"""HuBERT in rounds: make units, train on them, make better units from what was trained."""

import logging
from pathlib import Path
from typing import Literal

from lhotse import CutSet
from pydantic.dataclasses import dataclass

from . import run
from .config import STRICT, BatchConfig, LogConfig, MaskConfig, OptimizerConfig, Seed
from .data.audio import PackedAudio
from .data.corpus import read_corpus, usable
from .learner import Learner
from .models.wav2vec2 import Wav2Vec2Encoder, load_encoder, save_encoder
from .models.wav2vec2_config import Wav2Vec2Config
from .objectives.hubert import Hubert
from .seeding import seeded
from .targets.kmeans import layer_units, mfcc_units
from .targets.units import Units

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RoundConfig:
    """One round: where its units come from and how long it trains."""

    units: Literal["mfcc", "layer"]
    """`mfcc`: 39-dimensional MFCCs at 100 Hz; `layer`: a layer of the round before."""
    layer: int = 6
    """Which one, counted from 1; HuBERT Base takes the 6th."""
    num_clusters: int
    """Size of the code book: 100, then 500, in the paper."""
    fit_frames: int = 1_000_000
    """Frames that k-means sees; all are labelled."""
    updates: int
    """Optimizer steps: 250 k, then 400 k, in the paper."""

    def __post_init__(self) -> None:
        if min(self.num_clusters, self.fit_frames, self.updates, self.layer) < 1:
            raise ValueError("layer, num_clusters, fit_frames and updates must be 1 or more")
        if self.fit_frames < self.num_clusters:
            raise ValueError(
                f"fit_frames must be num_clusters or more, got {self.fit_frames} frames for "
                f"{self.num_clusters} clusters"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HubertRecipe:
    """HuBERT pretraining; the defaults are Base's."""

    objective: Literal["hubert"]
    """The paper that this recipe follows."""
    encoder: Wav2Vec2Config
    """The teacher's sizes."""
    rounds: tuple[RoundConfig, ...]
    """One after the other; each starts from random weights."""
    mask: MaskConfig = MaskConfig()
    """Frames that are hidden."""
    final_dim: int = 256
    """Width in which frames meet units."""
    temperature: float = 0.1
    """Cosines are divided by this."""
    masked_share: float = 1.0
    """Weight of the hidden frames' loss (alpha, eq. 2); the rest is the visible frames'."""
    feature_penalty: float = 10.0
    """Weight of the mean square of the conv features."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Rates and decays."""
    batch: BatchConfig = BatchConfig()
    """Audio of an update."""
    log: LogConfig = LogConfig()
    """When to log and save."""
    seed: Seed = 0
    """Of weights, masks, crops, dropout and k-means."""

    def __post_init__(self) -> None:
        if self.final_dim < 1 or self.temperature <= 0 or self.feature_penalty < 0:
            raise ValueError(
                "final_dim must be 1 or more, temperature positive, feature_penalty 0 or more; got "
                f"{self.final_dim}, {self.temperature}, {self.feature_penalty}"
            )
        if not 0.0 < self.masked_share <= 1.0:
            raise ValueError(f"masked_share must lie in (0, 1], got {self.masked_share}")
        if not self.rounds or self.rounds[0].units != "mfcc":
            raise ValueError("rounds must hold one or more, the first with units = 'mfcc'")


def pretrain(recipe: HubertRecipe, data: Path, out: Path, *, resume: bool) -> Path:
    """Run every round that is not done yet.

    Args:
        recipe: sizes, rounds and rates.
        data: a corpus; its train partition is used, labels are not.
        out: the run folder.
        resume: go on in a folder that was started with the same recipe.

    Returns:
        the teacher's checkpoint, `out/model`.

    Raises:
        TrainError: data or folder cannot be used.
    """
    run.check(out, recipe, resume=resume, data=data.resolve().name)
    corpus = read_corpus(data)
    cuts = usable(corpus, partition="train", min_seconds=recipe.batch.min_seconds)
    packed = PackedAudio.of(corpus, progress=True)  # whole, so that every step shares one cache
    run.start(out, recipe, resume=resume, data=data.resolve().name)
    previous: Path | None = None
    for number, this in enumerate(recipe.rounds, start=1):
        folder = out / f"round{number}"
        model = out / "model" if number == len(recipe.rounds) else folder / "model"
        if not model.is_dir():
            _log.info("round %d of %d: %s units", number, len(recipe.rounds), this.units)
            units = _units(recipe, this, cuts, packed, previous, folder / "units.npz")
            _train(recipe, this, units, cuts, packed, folder, model, data.resolve().name)
        run.finish(folder)
        previous = model
    return out / "model"


def _units(
    recipe: HubertRecipe,
    this: RoundConfig,
    cuts: CutSet,
    packed: PackedAudio,
    previous: Path | None,
    path: Path,
) -> Units:
    """The round's units, made once and kept beside its model."""
    if path.is_file():
        return Units.load(path)
    settings = {
        "num_clusters": this.num_clusters,
        "fit_frames": this.fit_frames,
        "seed": recipe.seed,
    }
    if this.units == "mfcc" or previous is None:
        units = mfcc_units(cuts, packed, **settings)
    else:
        encoder = load_encoder(previous)
        units = layer_units(cuts, packed, encoder, layer=this.layer, **settings)
    units.save(path)
    return units


def _train(
    recipe: HubertRecipe,
    this: RoundConfig,
    units: Units,
    cuts: CutSet,
    packed: PackedAudio,
    folder: Path,
    model: Path,
    data: str,
) -> None:
    with seeded(recipe.seed):
        objective = Hubert(
            Wav2Vec2Encoder(recipe.encoder),
            units,
            mask=recipe.mask,
            final_dim=recipe.final_dim,
            temperature=recipe.temperature,
            feature_penalty=recipe.feature_penalty,
            masked_share=recipe.masked_share,
        )
    learner = Learner(objective, recipe.optimizer, updates=this.updates, seed=recipe.seed)
    run.fit(learner, cuts, packed, recipe.batch, recipe.log, folder)
    save_encoder(
        model,
        recipe.encoder,
        objective.encoder.state_dict(),
        provenance={"objective": recipe.objective, "data": data, "seed": recipe.seed},
    )
