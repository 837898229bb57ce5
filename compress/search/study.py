"""Evolutionary search for the subnet with the lowest score under a parameter target."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..cost.params import params
from ..feasible import Feasibility, FeasibleSet, feasibility, uniform_below
from ..spaces import Space
from ..subnet import Subnet
from . import SearchError
from .genes import Gene, gene_choices, genes_of, subnet_from

if TYPE_CHECKING:
    import optuna

MOST_REJECTED = 20
"""Children rejected in a row before a newcomer, drawn uniformly, takes their place."""

Verdict = Literal["scored", "over_target", "repeated"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One proposal of the search, scored or rejected."""

    number: int
    """Its place in the search, from 0; rejected ones count."""
    subnet: Subnet
    params: int
    """As `cost.params.params` counts."""
    score: float | None
    """Lower is better; None when it was rejected."""
    verdict: Verdict
    """`repeated`: the same subnet was scored before."""

    @property
    def feasible(self) -> bool:
        """Whether it fits the target."""
        return self.verdict != "over_target"


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found, and how."""

    feasibility: Feasibility
    winner: Subnet
    """The lowest score; the first of several."""
    winner_params: int
    score: float
    trials: tuple[Candidate, ...]
    """Every candidate, in order."""

    def num_trials(self, verdict: Verdict) -> int:
        """Number of candidates that met this end."""
        return sum(trial.verdict == verdict for trial in self.trials)


def run_search(
    space: Space,
    *,
    target_params: int,
    num_trials: int,
    population: int,
    seed: int,
    storage: Path,
    score: Callable[[Subnet], float],
    resume: bool = False,
    on_trial: Callable[[Candidate], None] | None = None,
    scored_on: str = "",
) -> SearchResult:
    """Score `num_trials` different subnets that fit, and return the best.

    The first generation is the largest subnet that fits, which is the best guess by size alone,
    and a uniform sample of all that fit. Later ones are bred by NSGA-II from those scored. A
    child above the target or scored before is rejected, not scored. After `MOST_REJECTED` of
    them in a row a uniformly drawn newcomer is scored instead, so the search ends after
    `num_trials * (MOST_REJECTED + 1)` candidates at most; it ends sooner, complete, when fewer
    than `num_trials` subnets fit.

    Killed at any moment and resumed, it ends with the same candidates and winner as if it had
    never stopped; only the score at hand is computed again. Resumed with more trials it goes on.

    Args:
        target_params: most parameters of a subnet.
        num_trials: subnets to score, 1 or more.
        population: subnets of a generation, 2 or more.
        seed: 0 or more; the only source of chance.
        storage: SQLite file of the study, made when it is not there.
        score: maps a subnet to a finite number, lower is better; the same for the same subnet.
        resume: go on with the study at `storage`; where there is none, start.
        on_trial: called after each new candidate is stored, not for those of an earlier run.
        scored_on: what scores depend on beside the subnet, such as a checkpoint's hash; a study
            is not resumed with another.

    Raises:
        BudgetError: no subnet fits, said before anything is written.
        SearchError: a study that cannot be started or resumed, a score that is not finite, or
            optuna is not installed.
        ValueError: a number outside its range.
    """
    _check_ranges(num_trials=(num_trials, 1), population=(population, 2), seed=(seed, 0))
    report = feasibility(space, target_params)
    open_study = _study_opener()
    asked = _choices(space) | {
        "target_params": target_params,
        "seed": seed,
        "population": population,
        "scored_on": scored_on,
    }
    with open_study(storage, asked=asked, resume=resume) as study:
        search = _Search(study, FeasibleSet(space, target_params), population, seed)
        while len(search.seen) < min(num_trials, report.num_within):
            candidate = search.step(score)
            if on_trial is not None:
                on_trial(candidate)
    return _result(report, search.trials)


def _check_ranges(**value_and_least: tuple[int, int]) -> None:
    for name, (value, least) in value_and_least.items():
        if value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")


def _study_opener() -> Any:
    try:
        from .store import open_study
    except ModuleNotFoundError as error:
        raise SearchError(
            f"the search needs {error.name}, which is not installed: "
            f"pip install 'otolite[compress]'"
        ) from error
    return open_study


def _choices(space: Space) -> dict[str, Any]:
    """The space as JSON values: a study must not go on after its definition changed."""
    return {
        "space": space.name,
        "embed_dim": list(space.embed_dim),
        "num_heads": list(space.num_heads),
        "ffn_ratio": list(space.ffn_ratio),
        "depth": list(space.depth),
    }


def _result(report: Feasibility, trials: list[Candidate]) -> SearchResult:
    scored = [(trial.score, trial) for trial in trials if trial.score is not None]
    best_score, best = min(scored, key=lambda pair: pair[0])
    return SearchResult(
        feasibility=report,
        winner=best.subnet,
        winner_params=best.params,
        score=best_score,
        trials=tuple(trials),
    )


def _finite(value: float, subnet: Subnet) -> float:
    if not math.isfinite(value):
        raise SearchError(
            f"the score of a subnet must be finite, got {value} for {subnet.to_json()}; "
            f"check that the supernet was trained and the held-out audio is not silent"
        )
    return float(value)


class _Search:
    """The loop's state, all of which is read back from the candidates in the study file."""

    def __init__(
        self, stored: "optuna.Study", within: FeasibleSet, population: int, seed: int
    ) -> None:
        import optuna

        self._stored, self._within = stored, within
        self._population, self._seed = population, seed
        self._breeding = optuna.create_study(direction="minimize")
        self._distributions = {
            name: optuna.distributions.CategoricalDistribution(alleles)
            for name, alleles in gene_choices(within.space).items()
        }
        self.trials: list[Candidate] = []
        self.seen: set[Subnet] = set()
        """Subnets that were scored."""
        self._num_rejected = 0
        for trial in stored.get_trials(deepcopy=False):
            self._breeding.add_trial(trial)
            self._record(subnet_from(within.space, trial.params), trial.value)

    def step(self, score: Callable[[Subnet], float]) -> Candidate:
        """Propose one candidate, score it unless it is rejected, and store the outcome."""
        from optuna.trial import TrialState

        from .breeding import Breeder

        number = len(self.trials)
        self._breeding.sampler = Breeder(
            population=self._population, seed=self._seed, step=number, given=self._given(number)
        )
        trial = self._breeding.ask(self._distributions)
        subnet = subnet_from(self._within.space, trial.params)
        if subnet in self.seen or not self._within.holds(subnet):
            # Told as pruned, it is neither a parent nor counts for its generation: parents all
            # fit, so an over-target child has nothing to teach that its violation could rank.
            value, state = None, TrialState.PRUNED
        else:
            value, state = _finite(score(subnet), subnet), TrialState.COMPLETE
        self._stored.add_trial(self._breeding.tell(trial, value, state))
        return self._record(subnet, value)

    def _given(self, number: int) -> dict[str, Gene] | None:
        """Genes of the first generation and of newcomers; None to breed a child."""
        rng = np.random.default_rng([self._seed, number, 2])
        space = self._within.space
        if number == 0:
            return genes_of(space, self._within.largest(), rng)
        if len(self.seen) < self._population or self._num_rejected >= MOST_REJECTED:
            return genes_of(space, self._newcomer(rng), rng)
        return None

    def _newcomer(self, rng: np.random.Generator) -> Subnet:
        """Draw a subnet that fits and was not scored; there is one while the loop runs."""
        for _ in range(MOST_REJECTED):
            subnet = self._within.sample(rng)
            if subnet not in self.seen:
                return subnet
        # Nearly all that fit were scored: take the next free one in order.
        start = uniform_below(self._within.count, rng)
        ranks = ((start + offset) % self._within.count for offset in range(len(self.seen) + 1))
        return next(subnet for rank in ranks if (subnet := self._within.at(rank)) not in self.seen)

    def _record(self, subnet: Subnet, value: float | None) -> Candidate:
        verdict: Verdict = "scored"
        if value is None:
            verdict = "repeated" if self._within.holds(subnet) else "over_target"
            self._num_rejected += 1
        else:
            self.seen.add(subnet)
            self._num_rejected = 0
        candidate = Candidate(
            number=len(self.trials),
            subnet=subnet,
            params=params(self._within.space, subnet),
            score=value,
            verdict=verdict,
        )
        self.trials.append(candidate)
        return candidate
