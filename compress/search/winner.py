"""Search a trained supernet under a budget and cut the winner out as a dense model."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic.dataclasses import dataclass as checked_dataclass

from runtime.atomic import replacing_file
from train import run
from train.config import STRICT
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus, usable
from train.models.checkpoints import digest, load_config
from train.models.wav2vec2 import load_encoder, save_encoder
from train.recipe import check

from .. import CompressError
from ..distill.stages import DistillRecipe
from ..feasible import feasibility
from ..subnet import Subnet
from ..supernet import FAMILY, load_supernet, materialize
from .journal import write_trials
from .scorer import DistillationScorer
from .study import Candidate, SearchResult, run_search

_log = logging.getLogger(__name__)


@checked_dataclass(frozen=True, kw_only=True, config=STRICT)
class SearchConfig:
    """What `compress search` looks for."""

    target_params: int
    """Most parameters of the subnet, heads excluded."""
    num_trials: int = 64
    """Subnets to score."""
    population: int = 16
    """Subnets of a generation."""
    num_clips: int = 128
    """Held-out clips that a subnet is scored on."""
    seed: int = 0
    """Of the sampler, the clips and their masks."""

    def __post_init__(self) -> None:
        if self.population < 2 or min(self.num_trials, self.num_clips) < 1 or self.seed < 0:
            raise ValueError(
                "population must be 2 or more, num_trials and num_clips 1 or more, seed 0 or more;"
                f" got {self.population}, {self.num_trials}, {self.num_clips}, {self.seed}"
            )


@dataclass(frozen=True)
class Winner:
    """Where the search ended."""

    result: SearchResult
    model: Path
    """The dense winner's checkpoint."""


def search(
    config: SearchConfig, supernet_run: Path, data: Path, out: Path, *, resume: bool
) -> Winner:
    """Find the best subnet within the budget and materialize it.

    Args:
        config: budget and effort.
        supernet_run: the run folder of `compress distill`; it knows its teacher.
        data: a corpus; clips come from its valid partition.
        out: the run folder.
        resume: go on where an interrupted search stopped.

    Raises:
        CompressError: nothing fits, or folders cannot be used.
    """
    supernet = load_supernet(supernet_run / "model")
    feasibility(supernet.space, config.target_params)
    recipe, teacher = _distilled_as(supernet_run)
    made_from = {"data": data.resolve().name, "supernet": digest(supernet_run / "model")}
    run.check(out, config, resume=resume, **made_from)
    corpus = read_corpus(data)
    cuts = usable(corpus, partition="valid", min_seconds=recipe.batch.min_seconds)
    if len(cuts) > config.num_clips:
        chosen = np.random.default_rng(config.seed).permutation(len(cuts))[: config.num_clips]
        ids = list(cuts.ids)
        cuts = cuts.subset(cut_ids=[ids[index] for index in np.sort(chosen)])
    scorer = DistillationScorer(
        load_encoder(teacher),
        supernet,
        cuts,
        PackedAudio.of(corpus, progress=True),
        mask=recipe.mask,
        top_layers=recipe.top_layers,
        normalize_targets=recipe.normalize_targets,
        frames=recipe.frames,
        seed=config.seed,
    )
    run.start(out, config, resume=resume, **made_from)
    result = run_search(
        supernet.space,
        target_params=config.target_params,
        num_trials=config.num_trials,
        population=config.population,
        seed=config.seed,
        storage=out / "study.db",
        score=scorer,
        resume=resume,
        on_trial=_report,
        scored_on=digest(supernet_run / "model"),
    )
    write_trials(out / "trials.jsonl", result)
    if not _is_kept(out, result.winner):
        dense = materialize(supernet, result.winner)
        provenance = {
            "subnet": json.loads(result.winner.to_json()),
            "supernet": digest(supernet_run / "model"),
            "teacher": digest(teacher),
        }
        save_encoder(out / "model", dense.config, dense.state_dict(), provenance=provenance)
        with replacing_file(out / "winner.json") as temporary:
            temporary.write_text(result.winner.to_json() + "\n", encoding="utf-8")
    return Winner(result, out / "model")


def _is_kept(out: Path, winner: Subnet) -> bool:
    """The winner was cut out before. Folding weight norm with other threads would change bits."""
    path = out / "winner.json"
    return path.is_file() and Subnet.from_json(path.read_text(encoding="utf-8")) == winner


def _report(candidate: Candidate) -> None:
    if candidate.score is not None:
        _log.info(
            "candidate %d: %s parameters, loss %.4f",
            candidate.number,
            f"{candidate.params:,}",
            candidate.score,
        )


def _distilled_as(supernet_run: Path) -> tuple[DistillRecipe, Path]:
    """The recipe and the teacher that a distillation run was made with.

    Raises:
        CompressError: no such run, or its teacher was trained again or moved since.
    """
    path = supernet_run / "config.json"
    if not path.is_file():
        raise CompressError(f"{supernet_run} is not a run of compress distill: no config.json")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        teacher = Path(stored["from"]["teacher"])
        recipe = check(stored["recipe"], DistillRecipe, str(path))
    except (ValueError, KeyError, TypeError):
        raise CompressError(f"{supernet_run} is not a run of compress distill") from None
    expected = load_config(supernet_run / "model", FAMILY)["provenance"]["teacher"]
    if digest(teacher) != expected:
        raise CompressError(
            f"the teacher {teacher} is not the one that {supernet_run} was distilled from; "
            "distil again"
        )
    return recipe, teacher
