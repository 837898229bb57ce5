"""Search for the subnet with the lowest score within a budget, by one worker or several."""

import math
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..any_space import AnySpace, AnySubnet
from ..budget import Budget
from ..feasible import Feasibility, feasibility, feasible_set
from ..keyword_spaces import KeywordSpace
from . import SearchError
from .candidates import Candidate, SearchResult

if TYPE_CHECKING:
    from .generations import Generations
    from .store import Store


def run_search(
    space: AnySpace,
    *,
    budget: Budget,
    num_trials: int,
    population: int,
    seed: int,
    storage: Path | str,
    score: Callable[[AnySubnet], float],
    front: bool = False,
    resume: bool = False,
    on_trial: Callable[[Candidate], None] | None = None,
    scored_on: str = "",
    beside: AbstractContextManager[None] | None = None,
) -> SearchResult:
    """Score `num_trials` different subnets that fit, and return the best.

    The first generation is the largest subnet that fits, which is the best guess by size alone,
    and a uniform sample of all that fit. Later ones are bred by NSGA-II from those scored. A child
    above the budget or proposed before is rejected, not scored. The search ends after
    `num_trials * 21` candidates at most; it ends sooner, complete, when fewer subnets fit.

    Killed at any moment and resumed, it ends with the same candidates and winner as if it had
    never stopped; only the score at hand is computed again. Resumed with more trials it goes on.
    Any number of processes may call this with the same arguments and `resume`: they share the
    work, and each returns the same result. One that is lost takes no more with it than the score
    it was at.

    Args:
        budget: limits that every scored subnet keeps.
        num_trials: subnets to score, 1 or more.
        population: subnets of a generation, 2 or more.
        seed: 0 or more; the only source of chance.
        storage: SQLite file of the study, .log file or URL, made when it is not there.
        score: maps a subnet to a finite number, lower is better; the same for the same subnet.
        front: search the front of scores and use of the budget, not the best score alone.
        resume: go on with the study at `storage`; where there is none, start.
        on_trial: called for each candidate that this process scored, once it is stored.
        scored_on: what scores depend on beside the subnet, such as a checkpoint's hash; a study
            is not resumed with another.
        beside: entered once others can join the study, left when all is scored.

    Raises:
        BudgetError: no subnet fits, said before anything is written.
        SearchError: a study that cannot be started or resumed, a score that is not finite, or
            optuna is not installed.
        ValueError: a number outside its range.
    """
    _check_ranges(num_trials=(num_trials, 1), population=(population, 2), seed=(seed, 0))
    report = feasibility(space, budget)
    with _optuna():
        from .generations import Generations, distributions_of
        from .store import open_store
    asked = _choices(space) | {
        "budget": budget.limits,
        "seed": seed,
        "population": population,
        "front": front,
        "scored_on": scored_on,
    }
    opened = open_store(
        str(storage), asked=asked, distributions=distributions_of(space), resume=resume
    )
    with _quiet(), opened as store, beside or nullcontext():
        generations = Generations(feasible_set(space, budget), population, seed, front=front)
        while generations.num_scored < min(num_trials, report.num_within):
            generation = generations.propose(num_trials - generations.num_scored)
            work = _Work(generations, store, budget, score, on_trial)
            generations.tell(work.settle(generation))
    return _result(report, generations.candidates)


class _Work:
    """One generation's scores, from the store or made here."""

    def __init__(
        self,
        generations: "Generations",
        store: "Store",
        budget: Budget,
        score: Callable[[AnySubnet], float],
        on_trial: Callable[[Candidate], None] | None,
    ) -> None:
        self._generations, self._store, self._budget = generations, store, budget
        self._score, self._on_trial = score, on_trial
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    def settle(self, generation: list[Candidate]) -> dict[int, float]:
        """Score what nobody has scored, until all of it is."""
        while True:
            known = self._store.scores()
            waiting = [candidate for candidate in generation if candidate.number not in known]
            if not waiting:
                return {candidate.number: known[candidate.number] for candidate in generation}
            begun = self._store.claims()
            free = [candidate for candidate in waiting if candidate.number not in begun]
            # Where others are at all that is left, do one of theirs too: they may be gone, and
            # until they have told their scores there is nothing else to do.
            self._settle_one(free[0] if free else waiting[-1])

    def _settle_one(self, candidate: Candidate) -> None:
        self._store.claim(candidate.number, self._worker)
        value = _finite(self._score(candidate.subnet), candidate.subnet)
        genes = self._generations.genes(candidate)
        self._store.add(candidate, genes, value, self._budget.use(candidate.costs))
        if self._on_trial is not None:
            self._on_trial(replace(candidate, score=value))


def _check_ranges(**value_and_least: tuple[int, int]) -> None:
    for name, (value, least) in value_and_least.items():
        if value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")


@contextmanager
def _optuna() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise SearchError(
            f"the search needs {error.name}, which is not installed: "
            f"pip install 'otolite[compress]'"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of studies that nobody here has heard of."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _choices(space: AnySpace) -> dict[str, Any]:
    """The space as JSON values: a study must not go on after its definition changed."""
    if isinstance(space, KeywordSpace):
        return {"space": space.name} | {
            choice.name: list(choice.values) for choice in space.choices
        }
    return {
        "space": space.name,
        "embed_dim": list(space.embed_dim),
        "num_heads": list(space.num_heads),
        "ffn_ratio": list(space.ffn_ratio),
        "depth": list(space.depth),
        "conv_channels": [list(choices) for choices in space.conv_channels],
    }


def _result(report: Feasibility, candidates: list[Candidate]) -> SearchResult:
    scored = [(found.score, found.number) for found in candidates if found.score is not None]
    _, best = min(scored)
    return SearchResult(feasibility=report, best=candidates[best], candidates=tuple(candidates))


def _finite(value: float, subnet: AnySubnet) -> float:
    if not math.isfinite(value):
        raise SearchError(
            f"the score of a subnet must be finite, got {value} for {subnet.to_json()}; "
            f"check that the supernet was trained and the held-out audio is not silent"
        )
    return float(value)
