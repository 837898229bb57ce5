"""Prune a checkpoint: measure, choose, cut, and write what is left as an ordinary checkpoint."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.atomic import replacing_file
from train import RecipeError, run
from train.data.audio import PackedAudio, Waveform
from train.data.corpus import read_corpus, usable
from train.data.cuts import SAMPLE_RATE
from train.models.checkpoints import digest, load_config, stated_family
from train.models.wav2vec2 import Wav2Vec2Encoder, load_encoder, save_encoder
from train.models.wav2vec2_config import Wav2Vec2Config
from train.tasks.bodies import name_of
from train.tasks.keywords import FAMILY as KEYWORDS
from train.tasks.keywords import PooledEncoder, load_keywords
from train.tasks.streaming_encoder import StreamingPooledEncoder

from .. import CompressError
from ..supernet import FAMILY as SUPERNET
from . import importance
from .budget import Scores, choose_widths, costs
from .graph import cut
from .parts import Part, parts_of, resized, widths_of
from .recipe import KINDS, CalibrationConfig, PruneRecipe

_log = logging.getLogger(__name__)

_RESULT = "pruned.json"


@dataclass(frozen=True)
class Plan:
    """What would be kept of an encoder."""

    encoder: Wav2Vec2Encoder
    """The one that is pruned."""
    recipe: PruneRecipe
    """By which it is."""
    parts: tuple[Part, ...]
    """What may be narrowed."""
    kept: tuple[NDArray[np.int64], ...]
    """Of each part the units that stay, ascending."""

    @property
    def config(self) -> Wav2Vec2Config:
        """Of the pruned encoder."""
        return resized(self.encoder.config, self.parts, [len(units) for units in self.kept])

    def summary(self) -> dict[str, Any]:
        """Sizes and costs before and after, layer by layer."""
        before, after = costs(self.encoder.config), costs(self.config)
        rows: dict[str, Any] = {"importance": self.recipe.importance}
        for index, name in enumerate(("params", "macs")):
            rows[name] = {"before": int(before[index]), "after": int(after[index])}
            target = getattr(self.recipe, f"target_{name}")
            if target is not None:
                rows[name]["target"] = target
        rows["kept"] = {
            kind: " ".join(
                f"{after}/{before}"
                for after, before in zip(
                    widths_of(self.config, kind), widths_of(self.encoder.config, kind), strict=True
                )
            )
            for kind in KINDS
        }
        return rows

    def units(self) -> list[dict[str, Any]]:
        """Which units stay, by part, as JSON values."""
        return [
            {"kind": part.kind, "layers": list(part.layers), "kept": units.tolist()}
            for part, units in zip(self.parts, self.kept, strict=True)
        ]


def plan(recipe: PruneRecipe, model: Path, data: Path | None) -> Plan:
    """Measure a checkpoint's units and choose those that stay; nothing is written.

    Args:
        recipe: what goes, and by what measure.
        model: a checkpoint of an encoder, or of a keyword model, whose encoder is taken.
        data: a corpus for `taylor`, which alone takes one; labels are not read.

    Raises:
        RecipeError: recipe, model and data do not go together.
        BudgetError: the recipe's totals cannot be reached.
        TrainError, CompressError: model or data cannot be used.
    """
    if (recipe.importance == "taylor") != (data is not None):
        raise RecipeError(
            f"importance {recipe.importance!r} "
            + ("needs --data, recordings to listen to" if data is None else "takes no --data")
        )
    encoder = _encoder_in(model)
    parts = parts_of(encoder.config, recipe)
    scores = _scores(recipe, encoder, parts, data)
    widths = choose_widths(encoder.config, parts, scores, recipe)
    kept = tuple(scores.kept(index, width) for index, width in enumerate(widths))
    return Plan(encoder, recipe, parts, kept)


def prune(
    recipe: PruneRecipe, model: Path, data: Path | None, out: Path, *, resume: bool
) -> dict[str, Any]:
    """Prune a checkpoint into the run folder `out`.

    What the model was pretrained by (a quantizer, a label table) stays behind. Nothing is trained
    afterwards: `compress finetune`, or a distillation from the unpruned model, is what heals.

    Args:
        recipe: what goes, and by what measure.
        model: as for `plan`.
        data: as for `plan`.
        out: gets `model`, a checkpoint as any other, and `pruned.json`, which units were kept.
        resume: go on in a folder that was started with the same recipe.

    Returns:
        sizes and costs before and after, and the checkpoint's path.

    Raises:
        TrainError, CompressError: as `plan`, or the folder cannot be used.
    """
    source = digest(model)
    made_from = {"model": source, "data": None if data is None else data.resolve().name}
    run.check(out, recipe, resume=resume, **made_from)
    if not (out / "model").is_dir():
        chosen = plan(recipe, model, data)
        dense = cut(chosen.encoder, chosen.parts, chosen.kept)
        assert dense.config == chosen.config, "the tensors are as wide as the budget counted"
        run.start(out, recipe, resume=resume, **made_from)
        record = {
            **chosen.summary(),
            "units": chosen.units(),
            "torch-pruning": version("torch-pruning"),
        }
        with replacing_file(out / _RESULT) as temporary:
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
        provenance = {
            "pruned_from": source,
            "importance": recipe.importance,
            "source": load_config(model, stated_family(model)).get("provenance", {}),
        }
        save_encoder(out / "model", dense.config, dense.state_dict(), provenance=provenance)
    told = json.loads((out / _RESULT).read_text(encoding="utf-8"))
    shown = ("importance", "params", "macs", "kept")
    return {**{name: told[name] for name in shown}, "model": str(out / "model")}


def _scores(
    recipe: PruneRecipe, encoder: Wav2Vec2Encoder, parts: Sequence[Part], data: Path | None
) -> Scores:
    if recipe.importance == "random":
        return importance.random(parts, seed=recipe.seed)
    if data is None:
        return importance.magnitude(encoder, parts, recipe.norm)
    clips = _clips(data, recipe.calibration, recipe.seed)
    _log.info("listening to %d recordings", len(clips))
    return importance.taylor(encoder, parts, clips, seed=recipe.seed)


def _clips(data: Path, calibration: CalibrationConfig, seed: int) -> list[Waveform]:
    """Recordings of the train partition, drawn and cropped by the seed."""
    corpus = read_corpus(data)
    cuts = usable(corpus, partition="train", min_seconds=calibration.min_seconds)
    packed = PackedAudio.of(corpus, progress=True)
    rng = np.random.default_rng(seed)
    ids = list(cuts.ids)
    clips = []
    for index in np.sort(rng.permutation(len(ids))[: calibration.num_clips]):
        spare = packed.num_samples(ids[index]) - round(calibration.crop_seconds * SAMPLE_RATE)
        start = int(rng.integers(max(0, spare) + 1))
        length = packed.num_samples(ids[index]) - max(0, spare)
        clips.append(packed.waveform(ids[index], start, length))
    return clips


def _encoder_in(folder: Path) -> Wav2Vec2Encoder:
    """An encoder's checkpoint, or the body of a keyword model's."""
    family = stated_family(folder)
    if family == SUPERNET:
        raise CompressError(
            f"{folder} holds a supernet, which is many models in one; cut one out first with "
            "compress cut or compress search, then prune that"
        )
    if family != KEYWORDS:
        return load_encoder(folder)
    body = load_keywords(folder).body
    if not isinstance(body, PooledEncoder | StreamingPooledEncoder):
        raise CompressError(
            f"{folder} holds a keyword model without an encoder ({name_of(body)}); "
            "only encoders are pruned"
        )
    return body.encoder
