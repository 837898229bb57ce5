"""Search a trained supernet within a budget, cut the winner out, and measure it as exported."""

import json
import logging
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.atomic import replacing_file
from train import run
from train.models.checkpoints import stated_family

from ..any_space import AnySubnet, read_subnet
from ..folders import checkpoint_in
from ..keyword_supernet import FAMILY as KEYWORDS
from . import SearchError, record
from .candidates import Candidate, SearchResult
from .config import SearchConfig
from .helpers import helpers
from .study import run_search
from .subject import Places, Score, Subject

__all__ = ["Places", "Winner", "join", "search"]

_log = logging.getLogger(__name__)

_TOLD = "measured.json"


@dataclass(frozen=True)
class Winner:
    """Where the search ended."""

    result: SearchResult
    model: Path
    """The dense winner's checkpoint."""
    record: dict[str, Any]
    """What search.json holds."""


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
    subject = _subject(config, places)
    run.check(places.out, subject.config, resume=resume, **subject.made_from)
    scorer = subject.scorer()
    run.start(places.out, subject.config, resume=resume, **subject.made_from)
    beside = helpers(workers - 1, config, places)
    # A study in a folder that was free until now is that of workers who have joined already.
    joined = places.storage is None
    result = _run(subject, scorer, resume=resume or joined, beside=beside)
    return _finished(subject, result)


def join(config: SearchConfig, places: Places) -> int:
    """Score candidates of a search that another process has started, until none is left.

    Returns:
        how many were scored here.

    Raises:
        SearchError: there is no such search, or it was asked otherwise.
    """
    subject = _subject(config, places)
    if not (places.out / "config.json").is_file():
        raise SearchError(
            f"{places.out} holds no search to join; start it without --join, and give every worker "
            "the same arguments"
        )
    run.check(places.out, subject.config, resume=True, **subject.made_from)
    scored: list[Candidate] = []
    _run(subject, subject.scorer(), resume=True, scored=scored)
    return len(scored)


def _subject(config: SearchConfig, places: Places) -> Subject:
    if stated_family(checkpoint_in(places.supernet)) == KEYWORDS:
        from .keyword_models import KeywordModels

        return KeywordModels(config, places)
    from .encoders import Encoders

    return Encoders(config, places)


def _run(
    subject: Subject,
    scorer: Score,
    *,
    resume: bool,
    scored: list[Candidate] | None = None,
    beside: AbstractContextManager[None] | None = None,
) -> SearchResult:
    config, places = subject.config, subject.places

    def tell(candidate: Candidate) -> None:
        if scored is not None:
            scored.append(candidate)
        _log.info(
            "candidate %d: %s parameters, score %.4f",
            candidate.number,
            f"{candidate.costs['params']:,}",
            candidate.score,
        )

    asked = {"scorer": config.scorer, "num_clips": config.num_clips, **subject.made_from}
    return run_search(
        subject.space,
        budget=subject.budget,
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


def _finished(subject: Subject, result: SearchResult) -> Winner:
    """Cut, train a little, export, measure, write down; what is there already is kept."""
    config, out, subnet = subject.config, subject.places.out, result.best.subnet
    if not _is_kept(out, subnet):
        told = subject.cut_out(result)
        _write(out / _TOLD, json.dumps(told, indent=1))
        _write(out / "winner.json", subnet.to_json())  # last: it says that the others are there
        run.finish(out / "polish")
    told = json.loads((out / _TOLD).read_text(encoding="utf-8"))
    made = record.record(
        result,
        winner=told,
        scorer={"name": config.scorer, "num_clips": config.num_clips},
        seed=config.seed,
        population=config.population,
        num_trials=config.num_trials,
        provenance={**subject.made_from, "config": asdict(config)},
    )
    record.write(out, made)
    return Winner(result, out / "model", made)


def _is_kept(out: Path, winner: AnySubnet) -> bool:
    """The winner was cut out before. Folding weight norm with other threads would change bits."""
    path = out / "winner.json"
    return path.is_file() and read_subnet(path.read_text(encoding="utf-8")) == winner


def _write(path: Path, text: str) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
