"""Search a trained supernet within a budget, cut the winner out, and measure it as exported."""

import json
import logging
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.atomic import replacing_file
from train import run
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.models.checkpoints import digest
from train.models.wav2vec2 import load_encoder, save_encoder

from ..budget import Budget
from ..cost.latency import DeviceTable
from ..cost.macs import SAMPLE_RATE
from ..feasible import feasibility
from ..subnet import Subnet
from ..supernet import Supernet, load_supernet, materialize
from . import SearchError, record
from .candidates import Candidate, SearchResult
from .config import SearchConfig
from .helpers import helpers
from .measure import measured
from .origins import Origin, origin_of
from .polish import check_origin, polish
from .scorers import Scorer, Setting, build_scorer
from .study import run_search

_log = logging.getLogger(__name__)

_TOLD = "measured.json"
_POLISH = "polish"

_MIN_SECONDS = 0.3
"""Of held-out clips, where a supernet's recipe is not known."""


@dataclass(frozen=True)
class Winner:
    """Where the search ended."""

    result: SearchResult
    model: Path
    """The dense winner's checkpoint."""
    record: dict[str, Any]
    """What search.json holds."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a search reads and writes."""

    supernet: Path
    """A run folder of `compress distill`, or a supernet's checkpoint."""
    data: Path
    """A corpus; held-out clips come from its valid partition."""
    out: Path
    """The run folder."""
    teacher: Path | None = None
    """What the supernet was distilled from; None: what its run says."""
    device: Path | None = None
    """A table of block latencies."""
    storage: str | None = None
    """Where workers share scores; None: a file in `out`."""


def search(config: SearchConfig, places: Places, *, resume: bool, workers: int = 1) -> Winner:
    """Find the best subnet within the budget, cut it out and measure it.

    Args:
        config: budget and effort.
        places: where to read and write.
        resume: go on where an interrupted search stopped.
        workers: processes on this machine that share the scoring, this one included.

    Raises:
        CompressError: nothing fits, or folders cannot be used.
    """
    task = _prepared(config, places)
    run.check(places.out, config, resume=resume, **task.made_from)
    scorer = _scorer(config, places, task)
    run.start(places.out, config, resume=resume, **task.made_from)
    beside = helpers(workers - 1, config, places)
    # A study in a folder that was free until now is that of workers who have joined already.
    joined = places.storage is None
    result = _run(config, places, task, scorer, resume=resume or joined, beside=beside)
    return _finished(config, places, task, result)


def join(config: SearchConfig, places: Places) -> int:
    """Score candidates of a search that another process has started, until none is left.

    Returns:
        how many were scored here.

    Raises:
        SearchError: there is no such search, or it was asked otherwise.
    """
    task = _prepared(config, places)
    if not (places.out / "config.json").is_file():
        raise SearchError(
            f"{places.out} holds no search to join; start it without --join, and give every worker "
            "the same arguments"
        )
    run.check(places.out, config, resume=True, **task.made_from)
    scored: list[Candidate] = []
    scorer = _scorer(config, places, task)
    _run(config, places, task, scorer, resume=True, scored=scored)
    return len(scored)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What the arguments lead to."""

    supernet: Supernet
    origin: Origin
    budget: Budget
    device: DeviceTable | None
    made_from: dict[str, str]


def _prepared(config: SearchConfig, places: Places) -> _Task:
    origin = origin_of(places.supernet, places.teacher)
    if config.polish_updates:
        check_origin(origin)
    supernet = load_supernet(origin.checkpoint)
    device = None if places.device is None else DeviceTable.read(places.device)
    budget = config.budget(supernet.space, device)
    feasibility(supernet.space, budget)  # what cannot be is said before anything is read
    made_from = {"data": places.data.resolve().name, "supernet": digest(origin.checkpoint)}
    if origin.teacher is not None:
        made_from["teacher"] = digest(origin.teacher)
    if places.device is not None and device is not None:
        made_from["device"] = f"{places.device.name} of {device.date}, {device.processor}"
    return _Task(
        supernet=supernet, origin=origin, budget=budget, device=device, made_from=made_from
    )


def _scorer(config: SearchConfig, places: Places, task: _Task) -> Scorer:
    corpus = read_corpus(places.data)
    recipe, teacher = task.origin.recipe, task.origin.teacher
    return build_scorer(
        config.scorer,
        Setting(
            supernet=task.supernet,
            teacher=None if teacher is None else load_encoder(teacher),
            targets=task.origin.targets,
            cuts=corpus,
            packed=PackedAudio.of(corpus, progress=True),
            num_clips=config.num_clips,
            min_seconds=_MIN_SECONDS if recipe is None else recipe.batch.min_seconds,
            seed=config.seed,
        ),
    )


def _run(
    config: SearchConfig,
    places: Places,
    task: _Task,
    scorer: Scorer,
    *,
    resume: bool,
    scored: list[Candidate] | None = None,
    beside: AbstractContextManager[None] | None = None,
) -> SearchResult:
    def tell(candidate: Candidate) -> None:
        if scored is not None:
            scored.append(candidate)
        _log.info(
            "candidate %d: %s parameters, score %.4f",
            candidate.number,
            f"{candidate.costs['params']:,}",
            candidate.score,
        )

    asked = {"scorer": config.scorer, "num_clips": config.num_clips, **task.made_from}
    return run_search(
        task.supernet.space,
        budget=task.budget,
        num_trials=config.num_trials,
        population=config.population,
        seed=config.seed,
        front=config.front,
        storage=places.storage or places.out / "study.db",
        score=scorer,
        resume=resume,
        on_trial=tell,
        scored_on=json.dumps(asked, sort_keys=True),
        beside=beside,
    )


def _finished(config: SearchConfig, places: Places, task: _Task, result: SearchResult) -> Winner:
    """Cut, polish, export, measure, write down; what is there already is kept."""
    out, subnet = places.out, result.best.subnet
    if not _is_kept(out, subnet):
        told = _cut_out(config, places, task, result)
        _write(out / _TOLD, json.dumps(told, indent=1))
        _write(out / "winner.json", subnet.to_json())  # last: it says that the others are there
        run.finish(out / _POLISH)
    told = json.loads((out / _TOLD).read_text(encoding="utf-8"))
    made = record.record(
        result,
        winner=told,
        scorer={"name": config.scorer, "num_clips": config.num_clips},
        seed=config.seed,
        population=config.population,
        num_trials=config.num_trials,
        provenance={**task.made_from, "config": asdict(config)},
    )
    record.write(out, made)
    return Winner(result, out / "model", made)


def _cut_out(
    config: SearchConfig, places: Places, task: _Task, result: SearchResult
) -> dict[str, Any]:
    """Save the winner as a dense model; returns what polish and measuring found."""
    out, subnet = places.out, result.best.subnet
    polished = None
    if config.polish_updates:
        _log.info("polishing the winner for %d updates", config.polish_updates)
        polish(
            task.supernet,
            subnet,
            task.origin,
            places.data,
            out / _POLISH,
            updates=config.polish_updates,
            seed=config.seed,
        )
        polished = {
            "updates": config.polish_updates,
            "score_before": result.score,
            "score_after": _scorer(config, places, task)(subnet),
        }
    dense = materialize(task.supernet, subnet).eval()
    provenance = {"subnet": record.plain(subnet), **task.made_from}
    save_encoder(out / "model", dense.config, dense.state_dict(), provenance=provenance)
    window_samples = task.device.window_samples if task.device else SAMPLE_RATE
    threads = task.device.threads if task.device else 1
    return {
        "fine_tuned": polished,
        "measured": measured(dense, out, window_samples=window_samples, threads=threads),
    }


def _is_kept(out: Path, winner: Subnet) -> bool:
    """The winner was cut out before. Folding weight norm with other threads would change bits."""
    path = out / "winner.json"
    return path.is_file() and Subnet.from_json(path.read_text(encoding="utf-8")) == winner


def _write(path: Path, text: str) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
