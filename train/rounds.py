"""HuBERT in rounds: make units, train on them, make better units from what was trained."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import run
from .data.source import Source
from .distributed import first_process_first
from .models.wav2vec2 import Wav2Vec2Encoder, load_encoder
from .objectives.hubert import Hubert, Recipe, RoundConfig
from .seeding import seeded
from .targets import purity
from .targets.kmeans import layer_units, mfcc_units
from .targets.units import Units
from .teacher import new_encoder, take_heads, train_teacher

_log = logging.getLogger(__name__)


def train_rounds(
    recipe: Recipe,
    source: Source,
    out: Path,
    *,
    init: Path | None,
    units_from: Path | None,
    provenance: Mapping[str, Any],
) -> None:
    """Run every round that is not done yet; each starts anew, or from `init`.

    Args:
        recipe: sizes, rounds and rates.
        source: unlabelled audio.
        out: the run folder, claimed already.
        init: a checkpoint whose weights every round starts from; None: random ones.
        units_from: the checkpoint whose layer makes the first round's units, where they are of a
            layer.
        provenance: what the teacher is made from, in JSON values.
    """
    previous = units_from
    for number, this in enumerate(recipe.rounds, start=1):
        folder = out / f"round{number}"
        model = out / "model" if number == len(recipe.rounds) else folder / "model"
        if not model.is_dir():
            _log.info("round %d of %d: %s units", number, len(recipe.rounds), this.units)
            with first_process_first():
                units = _units(recipe, this, source, previous, folder / "units.npz")
                purity.note(units, source, folder / "units.json")
            encoder = new_encoder(recipe, init)
            assert isinstance(encoder, Wav2Vec2Encoder), "as the recipe's encoder says"
            with seeded(recipe.seed):
                objective = Hubert(encoder, recipe, units)
            if init is not None:
                take_heads(objective, recipe, init)
            train_teacher(
                objective,
                recipe,
                source,
                folder,
                model,
                updates=this.updates,
                provenance=provenance,
            )
        run.finish(folder)
        previous = model


def _units(
    recipe: Recipe,
    this: RoundConfig,
    source: Source,
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
    if this.units == "mfcc":
        units = mfcc_units(source, **settings)
    else:
        assert previous is not None, "checked before the run was claimed"
        encoder = load_encoder(previous)
        units = layer_units(source, encoder, layer=this.layer, **settings)
    units.save(path)
    return units
