"""Fine-tune an encoder, or train a baseline, to tell keywords apart."""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lhotse import CutSet
from pydantic.dataclasses import dataclass

from runtime.atomic import replacing_file

from . import run
from .config import STRICT, BatchConfig, DeviceConfig, LogConfig, OptimizerConfig, Seed
from .data.audio import PackedAudio
from .data.corpus import read_corpus, usable
from .data.cuts import SILENCE, label_of
from .data.label_share import LabelShare, labelled
from .data.rooms import Surroundings, read_surroundings
from .data.selection import check_labels, labels_of, partition_of
from .data.source import Recordings
from .errors import RecipeError
from .learner import Learner
from .models.bc_resnet import BcResNetConfig
from .models.causal_keyword_transformer import CausalKeywordTransformerConfig
from .models.causal_tcn import CausalTcnConfig
from .models.checkpoints import digest, load_config
from .models.conformer import ConformerConfig
from .models.ds_cnn import DsCnnConfig
from .models.frontend import SAMPLE_RATE
from .models.keyword_transformer_config import KeywordTransformerConfig
from .models.wav2vec2 import Wav2Vec2Encoder, load_encoder
from .nearest import nearest
from .seeding import seeded
from .tasks.augmenting import AugmentConfig, ClipPool, Variation, front_ends
from .tasks.bodies import BODIES, ENCODER, Body, CausalBody, is_causal
from .tasks.keywords import (
    KeywordModel,
    KeywordObjective,
    confusion,
    pooled,
    predict,
    save_keywords,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class KeywordsRecipe:
    """Training of a keyword classifier."""

    task: Literal["keywords"]
    """The head and the score."""
    body: str = ENCODER
    """`wav2vec2`: the encoder given by --model; or one of `BODIES`, from scratch or, where there is
    a pretraining for it, from --model, which then gives the sizes too."""
    bc_resnet: BcResNetConfig = BcResNetConfig()
    """Sizes of the `bc_resnet` body."""
    conformer: ConformerConfig = ConformerConfig()
    """Sizes of the `conformer` body."""
    ds_cnn: DsCnnConfig = DsCnnConfig()
    """Sizes of the `ds_cnn` body."""
    keyword_transformer: KeywordTransformerConfig = KeywordTransformerConfig()
    """Sizes of the `keyword_transformer` body, which sees whole windows."""
    causal_keyword_transformer: CausalKeywordTransformerConfig = CausalKeywordTransformerConfig()
    """Sizes of the `causal_keyword_transformer` body, which a stream can run step by step."""
    causal_tcn: CausalTcnConfig = CausalTcnConfig()
    """Sizes of the `causal_tcn` body, whose steps are the cheapest."""
    labels: tuple[str, ...] = ()
    """Classes; clips of other words are left out. None: every label with enough clips."""
    min_clips_per_label: int = 50
    """Clips of the train partition that make a label a class of its own."""
    labelled: LabelShare = LabelShare()
    """Share of the train partition's clips that are learned from, as if no other had a label."""
    window_seconds: float = 1.0
    """What the model judges; clips are centred in it, and a causal body answers at its end."""
    streaming: Literal["sliding_window", "incremental"] = "sliding_window"
    """How an export streams the model, unless it is told otherwise: run anew on every window, or
    step by step, which a causal body alone can."""
    chunk_ms: int = 80
    """Of `incremental`: audio of a step, a multiple of the body's frames."""
    updates: int
    """Optimizer steps."""
    body_rate_scale: float = 1.0
    """The pretrained body's share of the learning rate, in (0, 1]."""
    label_smoothing: float = 0.1
    """In [0, 1)."""
    augment: AugmentConfig = AugmentConfig()
    """How clips are varied."""
    optimizer: OptimizerConfig
    """Rates and decays."""
    batch: BatchConfig
    """Audio of an update."""
    log: LogConfig = LogConfig()
    """When to log and save."""
    seed: Seed = 0
    """Of new weights, order, augmentation and dropout."""

    def __post_init__(self) -> None:
        if self.body != ENCODER and self.body not in BODIES:
            raise ValueError(
                f"there is no body {self.body!r}; {nearest(self.body, [ENCODER, *BODIES])}"
            )
        fixed = self.keyword_transformer.window_samples
        if self.body == "keyword_transformer" and fixed != self.window_samples:
            raise ValueError(
                f"a keyword_transformer of window_samples {fixed} judges no other window; "
                f"set window_seconds to {fixed / SAMPLE_RATE:g}, or keyword_transformer."
                f"window_samples to {self.window_samples}"
            )
        # Whether an encoder hears in chunks is known once it is read.
        if self.streaming == "incremental" and self.body != ENCODER and not is_causal(self.body):
            raise ValueError(
                f"streaming 'incremental' needs a causal body, and {self.body!r} is trained on "
                "whole windows; take 'sliding_window', or a causal body"
            )
        if self.chunk_ms < 1:
            raise ValueError(f"chunk_ms must be 1 or more, got {self.chunk_ms}")
        if self.updates < 1 or self.window_seconds <= 0:
            raise ValueError("updates must be 1 or more and window_seconds positive")
        if not 0.0 < self.body_rate_scale <= 1.0 or not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError("body_rate_scale must lie in (0, 1], label_smoothing in [0, 1)")

    @property
    def window_samples(self) -> int:
        """The window in samples."""
        return round(self.window_seconds * SAMPLE_RATE)


def finetune(
    recipe: KeywordsRecipe,
    data: Path,
    model: Path | None,
    out: Path,
    *,
    random_init: bool,
    resume: bool,
    surroundings: Path | None = None,
) -> Path:
    """Train, score on the valid and test partitions, and save.

    Args:
        recipe: what to train and how.
        data: a labelled corpus with partitions.
        model: checkpoint of a pretraining; the `wav2vec2` body needs one, others may have one.
        out: the run folder.
        random_init: take only the sizes of `model`, to measure what its weights are worth.
        resume: go on in a folder that was started with the same recipe.
        surroundings: a folder of noises and rooms that clips are mixed with, beside the corpus's
            own silence.

    Returns:
        the keyword model's checkpoint, `out/model`; scores are in `out/scores.json`.

    Raises:
        TrainError: data, model or folder cannot be used.
    """
    check_source(recipe, model)
    made_from = {
        "data": data.resolve().name,
        "random_init": random_init,
        "model": None if model is None else _origin(model, recipe.body),
        **({} if surroundings is None else {"surroundings": surroundings.resolve().name}),
    }
    run.check(out, recipe, resume=resume, **made_from)
    if (out / "scores.json").is_file():
        run.finish(out)
        return out / "model"
    cuts = read_corpus(data)
    train_cuts = usable(cuts, partition="train", min_seconds=recipe.batch.min_seconds)
    labels = recipe.labels or labels_of(train_cuts, min_clips=recipe.min_clips_per_label)
    check_labels(labels, train_cuts)
    packed = PackedAudio.of(cuts, progress=True)
    cuts = cuts.filter(lambda cut: cut.supervisions[0].text in labels).to_eager()
    train_cuts = usable(cuts, partition="train", min_seconds=recipe.batch.min_seconds)
    train_cuts = labelled(train_cuts, recipe.labelled)
    around = Surroundings() if surroundings is None else read_surroundings(surroundings)
    with seeded(recipe.seed):
        keyword_model = KeywordModel(_body(recipe, model, random_init), tuple(labels))
    if recipe.augment.max_lead_ms and not isinstance(keyword_model.body, CausalBody):
        raise RecipeError(
            f"augment.max_lead_ms puts sound before a window, which body {recipe.body!r} would "
            "take for a part of it; leave it at 0, or train a causal body"
        )
    if recipe.augment.stripes.masks and not front_ends(keyword_model):
        raise RecipeError(
            f"augment.stripes hides features, and body {recipe.body!r} hears the waveform itself; "
            "leave it out, or train a body with a front end"
        )
    run.start(out, recipe, resume=resume, **made_from)
    silence = [packed.waveform(cut.id) for cut in train_cuts if label_of(cut) == SILENCE]
    noises = [noise for noise in silence if np.any(noise)]
    variation = Variation(
        recipe.augment,
        replace(around, noises=(*noises, *around.noises)),
        ClipPool(packed, tuple(train_cuts.ids)),
    )
    objective = KeywordObjective(
        keyword_model,
        variation,
        window_samples=recipe.window_samples,
        label_smoothing=recipe.label_smoothing,
    )
    source = Recordings(train_cuts, packed)
    _train(recipe, objective, source, out, from_checkpoint=model is not None)
    save_keywords(out / "model", keyword_model)
    _score(recipe, keyword_model, cuts, packed, out / "scores.json")
    run.finish(out)
    return out / "model"


def check_source(recipe: KeywordsRecipe, model: Path | None) -> None:
    """Refuse a body without the encoder it needs, or with one it has no use for.

    Raises:
        RecipeError: recipe and `model` do not fit.
    """
    if recipe.body == ENCODER:
        if model is None:
            raise RecipeError(
                f"a recipe with body {ENCODER!r} needs --model, an encoder's checkpoint"
            )
    elif model is not None and BODIES[recipe.body].load is None:
        raise RecipeError(f"a recipe with body {recipe.body!r} takes no --model")


def _origin(model: Path, family: str) -> dict[str, Any]:
    """An encoder's digest and what it was made from, for the bundle's manifest."""
    return {"sha256": digest(model), **load_config(model, family).get("provenance", {})}


def _body(recipe: KeywordsRecipe, model: Path | None, random_init: bool) -> Body:
    if recipe.body != ENCODER:
        return _own_body(recipe, model, random_init)
    assert model is not None
    encoder = load_encoder(model)
    if random_init:
        encoder = Wav2Vec2Encoder(encoder.config)
    return pooled(encoder)


def _own_body(recipe: KeywordsRecipe, model: Path | None, random_init: bool) -> Body:
    """A body with a front end of its own: new, or read from the checkpoint of a pretraining.

    Raises:
        RecipeError: the recipe asks for other sizes than the checkpoint has.
    """
    kind, asked = BODIES[recipe.body], getattr(recipe, recipe.body)
    if model is None:
        return kind.build(asked)
    assert kind.load is not None
    body: Any = kind.load(model)
    found = body.config
    if asked not in (kind.config(), found):
        name = next(key for key in asdict(asked) if getattr(asked, key) != getattr(found, key))
        raise RecipeError(
            f"{model} has {recipe.body}.{name} {getattr(found, name)!r} where the recipe has "
            f"{getattr(asked, name)!r}; sizes come from the checkpoint: leave the recipe's out"
        )
    if found.window_samples != recipe.window_samples:
        raise RecipeError(
            f"{model} judges windows of {found.window_samples} samples; set window_seconds to "
            f"{found.window_samples / SAMPLE_RATE:g}"
        )
    return kind.build(found) if random_init else body


def _train(
    recipe: KeywordsRecipe,
    objective: KeywordObjective,
    source: Recordings,
    out: Path,
    *,
    from_checkpoint: bool,
) -> None:
    learned_before = "model.body.encoder." if recipe.body == ENCODER else "model.body."
    learner = Learner(
        objective,
        recipe.optimizer,
        updates=recipe.updates,
        seed=recipe.seed,
        learning_rate_scale={learned_before: recipe.body_rate_scale} if from_checkpoint else None,
    )
    run.fit(learner, source, recipe.batch, recipe.log, out, devices=DeviceConfig())


def _score(
    recipe: KeywordsRecipe, model: KeywordModel, cuts: CutSet, packed: PackedAudio, path: Path
) -> None:
    scores: dict[str, object] = {"labels": list(model.labels)}
    for partition in ("valid", "test"):
        part = partition_of(cuts, partition)
        if not len(part):
            continue
        posteriors = predict(model, part, packed, window_samples=recipe.window_samples)
        wanted = [cut.supervisions[0].text for cut in part]
        counts = confusion(posteriors, wanted, model.labels)
        accuracy = float(np.trace(counts) / counts.sum())
        scores[partition] = {"clips": len(part), "accuracy": accuracy, "confusion": counts.tolist()}
        _log.info("%s: %.1f %% of %d clips", partition, 100 * accuracy, len(part))
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
