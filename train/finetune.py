"""Fine-tune an encoder, or train a baseline, to tell keywords apart."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lhotse import CutSet
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from runtime.atomic import replacing_file

from . import run
from .config import STRICT, BatchConfig, DeviceConfig, LogConfig, OptimizerConfig, Seed
from .data.audio import PackedAudio
from .data.corpus import read_corpus, usable
from .data.cuts import SILENCE, UNKNOWN, label_of
from .data.label_share import LabelShare, labelled
from .data.rooms import Surroundings, read_surroundings
from .data.running import Speech, Words, read_speech, without_keywords
from .data.selection import check_labels, labels_of, partition_of
from .data.source import Recordings
from .errors import RecipeError
from .learner import Learner
from .models.bc_resnet import BcResNetConfig
from .models.causal_keyword_transformer import CausalKeywordTransformerConfig
from .models.checkpoints import digest, load_config
from .models.conformer import ConformerConfig
from .models.ds_cnn import DsCnnConfig
from .models.frontend import SAMPLE_RATE
from .models.keyword_transformer_config import KeywordTransformerConfig
from .models.wav2vec2 import Wav2Vec2Encoder, load_encoder
from .nearest import nearest
from .objectives import Objective
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
from .tasks.running import RunningConfig, Stage
from .tasks.spotting import SpottingObjective, hear_recordings

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
    running: RunningConfig | None = None
    """Train on running sound instead of windows, as a spotter is used; for causal bodies. `labels`
    are then the keywords, and everything else in the corpus is sound without them."""
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
        if self.running is not None and not is_causal(self.body):
            raise ValueError(
                f"running sound is heard frame by frame, and {self.body!r} is trained on whole "
                "windows; leave [running] out, or take a causal body"
            )
        if self.running is not None and (self.augment.max_shift_ms or self.augment.max_lead_ms):
            raise ValueError(
                "scenes of [running] place their words themselves; set augment.max_shift_ms and "
                "augment.max_lead_ms to 0"
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
    negatives: Sequence[Path] = (),
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
        negatives: corpora of speech without the keywords, for running sound.

    Returns:
        the keyword model's checkpoint, `out/model`; scores are in `out/scores.json`.

    Raises:
        TrainError: data, model or folder cannot be used.
    """
    check_source(recipe, model)
    if negatives and recipe.running is None:
        raise RecipeError("--negatives are for a recipe with [running]; this one trains on clips")
    made_from = {
        "data": data.resolve().name,
        "random_init": random_init,
        "model": None if model is None else _origin(model, recipe.body),
        **({} if surroundings is None else {"surroundings": surroundings.resolve().name}),
        **({"negatives": [folder.resolve().name for folder in negatives]} if negatives else {}),
    }
    run.check(out, recipe, resume=resume, **made_from)
    if (out / "scores.json").is_file():
        run.finish(out)
        return out / "model"
    cuts = read_corpus(data)
    around = Surroundings() if surroundings is None else read_surroundings(surroundings)
    if recipe.running is None:
        training = _on_clips(recipe, cuts, model, around, random_init=random_init)
    else:
        training = _on_running_sound(recipe, cuts, negatives, around)
    run.start(out, recipe, resume=resume, **made_from)
    _train(recipe, training.objective, training.source, out, from_checkpoint=model is not None)
    save_keywords(out / "model", training.model)
    _score(training, out / "scores.json")
    run.finish(out)
    return out / "model"


@plain_dataclass(frozen=True)
class _Training:
    """What is trained on what, and how it is scored."""

    model: KeywordModel
    objective: Objective
    source: Recordings
    scored: CutSet
    """Clips with labels of the model's, of all partitions."""
    predict: Callable[[CutSet], NDArray[np.float32]]
    """Posteriors (clips, labels)."""


def _on_clips(
    recipe: KeywordsRecipe,
    cuts: CutSet,
    model: Path | None,
    around: Surroundings,
    *,
    random_init: bool,
) -> _Training:
    """Windows with a clip in the middle of each."""
    train_cuts = usable(cuts, partition="train", min_seconds=recipe.batch.min_seconds)
    labels = recipe.labels or labels_of(train_cuts, min_clips=recipe.min_clips_per_label)
    check_labels(labels, train_cuts)
    packed = PackedAudio.of(cuts, progress=True)
    cuts = cuts.filter(lambda cut: label_of(cut) in labels).to_eager()
    train_cuts = usable(cuts, partition="train", min_seconds=recipe.batch.min_seconds)
    train_cuts = labelled(train_cuts, recipe.labelled)
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
    around = _and_silence(around, train_cuts, packed)
    variation = Variation(recipe.augment, around, ClipPool(packed, tuple(train_cuts.ids)))
    window_samples = recipe.window_samples
    return _Training(
        keyword_model,
        KeywordObjective(
            keyword_model,
            variation,
            window_samples=window_samples,
            label_smoothing=recipe.label_smoothing,
        ),
        Recordings(train_cuts, packed),
        cuts,
        lambda part: predict(keyword_model, part, packed, window_samples=window_samples),
    )


def _on_running_sound(
    recipe: KeywordsRecipe,
    cuts: CutSet,
    negatives: Sequence[Path],
    around: Surroundings,
) -> _Training:
    """Scenes of several seconds, judged at every frame."""
    assert recipe.running is not None
    train_cuts = usable(cuts, partition="train", min_seconds=recipe.batch.min_seconds)
    asked = recipe.labels or labels_of(train_cuts, min_clips=recipe.min_clips_per_label)
    keywords = tuple(label for label in asked if label not in (UNKNOWN, SILENCE))
    check_labels(keywords, train_cuts)
    packed = PackedAudio.of(cuts, progress=True)
    words = labelled(
        train_cuts.filter(lambda cut: label_of(cut) in keywords).to_eager(), recipe.labelled
    )
    others = without_keywords(cuts, keywords)
    unsaid = partition_of(others, "train").filter(lambda cut: label_of(cut) != SILENCE)
    speech = Speech(
        [
            (packed, tuple(unsaid.to_eager().ids)),
            *read_speech(negatives, keywords, min_seconds=recipe.batch.min_seconds),
        ]
    )
    if not speech.hours:
        raise RecipeError(
            "running sound needs speech without the keywords; give some with --negatives"
        )
    _log.info("%d clips of keywords, %.2f hours of other speech", len(words), speech.hours)
    with seeded(recipe.seed):
        model = KeywordModel(_own_body(recipe, None, random_init=False), (UNKNOWN, *keywords))
    found = Words.of(words, packed)
    late_samples = recipe.running.late_ms * SAMPLE_RATE // 1000
    said = cuts.filter(lambda cut: label_of(cut) in keywords).to_eager()
    return _Training(
        model,
        SpottingObjective(
            model,
            Stage(recipe.running, recipe.augment, speech, _and_silence(around, train_cuts, packed)),
            found,
            label_smoothing=recipe.label_smoothing,
        ),
        Recordings(words, found.packed),
        said + others,
        lambda part: hear_recordings(model, part, packed, late_samples=late_samples),
    )


def _and_silence(around: Surroundings, cuts: CutSet, packed: PackedAudio) -> Surroundings:
    """The corpus's own clips of silence are noises as well."""
    silence = [packed.waveform(cut.id) for cut in cuts if label_of(cut) == SILENCE]
    noises = [noise for noise in silence if np.any(noise)]
    return replace(around, noises=(*noises, *around.noises))


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
    objective: Objective,
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


def _score(training: _Training, path: Path) -> None:
    labels = training.model.labels
    scores: dict[str, object] = {"labels": list(labels)}
    for partition in ("valid", "test"):
        part = partition_of(training.scored, partition)
        if not len(part):
            continue
        posteriors = training.predict(part)
        said = [label_of(cut) for cut in part]
        counts = confusion(
            posteriors, [word if word in labels else UNKNOWN for word in said], labels
        )
        accuracy = float(np.trace(counts) / counts.sum())
        scores[partition] = {"clips": len(part), "accuracy": accuracy, "confusion": counts.tolist()}
        _log.info("%s: %.1f %% of %d clips", partition, 100 * accuracy, len(part))
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
