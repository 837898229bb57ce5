"""Search of a supernet of keyword models."""

import json
import logging
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from train.finetune import finetune
from train.labelled import Clips, read_clips
from train.models.checkpoints import digest
from train.recipe import check
from train.tasks.keywords import KeywordModel, save_keywords

from .. import CompressError
from ..any_space import AnySubnet
from ..distill.in_place import KeywordSupernetRecipe
from ..folders import checkpoint_in
from ..keyword_clips import SETTLING_CLIPS, LabelledWindows, drawn, settle_norms
from ..keyword_spaces import KeywordSubnet
from ..keyword_supernet import load_keyword_supernet, materialize
from . import SearchError, record
from .candidates import SearchResult
from .config import SearchConfig
from .measure import measured_keywords
from .polish import briefly
from .subject import Places, Score, Subject

_log = logging.getLogger(__name__)

RUN = "keywords"
"""Folder of the winner as a run of `compress finetune`, in the search's."""


class KeywordModels(Subject):
    """Keyword models, compared by their loss on labelled clips of the valid partition."""

    def __init__(self, config: SearchConfig, places: Places) -> None:
        """Read the supernet and the recipe that it was trained by."""
        checkpoint = checkpoint_in(places.supernet)
        recipe = _recipe_of(places.supernet)
        self.supernet = load_keyword_supernet(checkpoint).eval()
        self.recipe = replace(recipe, labels=self.supernet.model.labels)
        super().__init__(config, places, self.supernet.space)
        self.made_from["supernet"] = digest(checkpoint)

    def scorer(self) -> Score:
        """By clips of the valid partition."""
        config, window = self.config, self.recipe.window_samples
        valid = drawn(
            self._clips, "valid", config.num_clips, window_samples=window, seed=config.seed
        )
        _log.info("scoring on %d labelled clips", len(valid.wanted))
        return lambda subnet: valid.loss(self._settled(subnet))

    def cut_out(self, result: SearchResult) -> dict[str, Any]:
        """Cut and save, then make it a run of `compress finetune`, trained further or not."""
        out, updates = self.places.out, self.config.polish_updates
        told = self.made(result.best.subnet, out)
        return {
            "fine_tuned": {"updates": updates, **told} if updates else None,
            "accuracy": told,
            "measured": measured_keywords(
                out / RUN / "model",
                out,
                window_samples=self.supernet.space.window_samples,
                threads=self.device.threads if self.device else 1,
            ),
        }

    def made(self, subnet: AnySubnet, out: Path) -> dict[str, float]:
        """Cut a model out and make it a run: what becomes of a winner, whichever model it is.

        Args:
            subnet: of the supernet's space.
            out: gets the model as it was cut, and the run.

        Returns:
            its accuracy on the valid and test partitions, those that there are.
        """
        updates = self.config.polish_updates
        model = self._settled(subnet)
        provenance = {"subnet": record.plain(subnet), **self.made_from}
        save_keywords(out / "model", model, provenance=provenance)
        body: Any = model.body
        space = self.supernet.space
        recipe = self.recipe.keywords(
            space,
            updates=updates,
            optimizer=briefly(self.recipe.optimizer, updates),
            seed=self.config.seed,
            **{space.body: body.config},
        )
        finetune(recipe, self.places.data, out / "model", out / RUN, random_init=False, resume=True)
        scores = json.loads((out / RUN / "scores.json").read_text(encoding="utf-8"))
        return {part: scores[part]["accuracy"] for part in ("valid", "test") if part in scores}

    @cached_property
    def _clips(self) -> Clips:
        return read_clips(self.recipe, self.places.data)

    @cached_property
    def _heard(self) -> LabelledWindows:
        """What norms are settled on."""
        window = self.recipe.window_samples
        return drawn(self._clips, "train", SETTLING_CLIPS, window_samples=window, seed=0)

    def _settled(self, subnet: AnySubnet) -> KeywordModel:
        assert isinstance(subnet, KeywordSubnet), "spaces of keyword models hold keyword models"
        model = materialize(self.supernet, subnet)
        settle_norms(model, self._heard)
        return model


def _recipe_of(path: Path) -> KeywordSupernetRecipe:
    """How a supernet was trained, which says what its models are scored and trained on.

    Raises:
        CompressError: it is not a run folder, or not one of a keyword supernet.
    """
    if checkpoint_in(path) == path:
        raise SearchError(
            f"{path} is a keyword supernet without its run, which says what clips are heard like; "
            "name the run folder of compress distill that holds it"
        )
    config = path / "config.json"
    try:
        stored = json.loads(config.read_text(encoding="utf-8"))["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        raise CompressError(f"{path} is not a run of compress distill: no recipe in it") from None
    return check(stored, KeywordSupernetRecipe, str(config))
