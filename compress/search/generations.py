"""Generation after generation of subnets that fit, bred by NSGA-II.

What is proposed is a function of the seed and of the scores of the generations before, not of who
scored what when: so any number of workers ends with the same winner, and so does a search that was
killed and starts again with the scores it had.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from ..any_space import AnySpace, AnySubnet
from ..feasible import Fitting, uniform_below
from .breeding import Breeder
from .candidates import Candidate, Verdict
from .genes import Gene, gene_choices, genes_of, subnet_from

MOST_REJECTED = 20
"""Children rejected in a row before a newcomer, drawn uniformly, takes their place."""

_DIRECTIONS = ("minimize", "minimize")
"""Score, and how much of the tightest limit is used."""


def distributions_of(space: AnySpace) -> dict[str, Any]:
    """Every gene's alleles, in Optuna's words."""
    return {
        name: optuna.distributions.CategoricalDistribution(alleles)
        for name, alleles in gene_choices(space).items()
    }


class Generations:
    """The loop's state; nothing of it is stored.

    With `front`, a candidate that uses less of the budget has children too, however it scores: the
    whole front of trade-offs is searched. Without, the score alone decides, and no trial is spent
    on what cannot win (docs/decisions/0009).
    """

    def __init__(self, within: Fitting, population: int, seed: int, *, front: bool = False) -> None:
        self._within, self._population, self._seed = within, population, seed
        self._front = front
        self._study = optuna.create_study(directions=list(_DIRECTIONS))
        self._distributions = distributions_of(within.space)
        self._asked: dict[int, optuna.Trial] = {}
        """Trials that wait for a score, by candidate."""
        self._proposed: set[AnySubnet] = set()
        self._generation = 0
        self.candidates: list[Candidate] = []
        """In order; the last generation's have no score until it is told."""

    @property
    def num_scored(self) -> int:
        """Subnets that were scored or wait for it."""
        return len(self._proposed)

    def propose(self, most: int) -> list[Candidate]:
        """The next generation: new subnets that fit, at most `most`, 1 or more.

        Children above the budget, or proposed before, are rejected on the way. After
        `MOST_REJECTED` of them in a row a uniformly drawn newcomer is proposed instead.
        """
        wanted = min(most, self._population, self._within.count - len(self._proposed))
        generation: list[Candidate] = []
        rejected = 0
        while len(generation) < wanted:
            number = len(self.candidates)
            given = self._given(number, rejected)
            self._study.sampler = Breeder(
                population=self._population, seed=self._seed, step=number, given=given
            )
            trial = self._study.ask(self._distributions)
            candidate = self._judged(number, subnet_from(self._within.space, trial.params))
            self.candidates.append(candidate)
            if candidate.verdict == "scored":
                self._proposed.add(candidate.subnet)
                self._asked[number] = trial
                generation.append(candidate)
                rejected = 0
            else:
                # Told as pruned, it is neither a parent nor counts for its generation: parents all
                # fit, so a child above the budget has nothing to teach that could be ranked.
                self._study.tell(trial, state=TrialState.PRUNED)
                rejected += 1
        return generation

    def tell(self, scores: Mapping[int, float]) -> None:
        """Take the scores of the generation that was proposed last, by candidate number."""
        for number, trial in self._asked.items():
            candidate = self.candidates[number]
            self.candidates[number] = replace(candidate, score=scores[number])
            use = self._within.budget.use(candidate.costs) if self._front else 0.0
            self._study.tell(trial, [scores[number], use])
        self._asked.clear()
        self._generation += 1

    def genes(self, candidate: Candidate) -> dict[str, Any]:
        """What a candidate that waits for its score was made of."""
        return dict(self._asked[candidate.number].params)

    def _judged(self, number: int, subnet: AnySubnet) -> Candidate:
        costs = self._within.budget.cost_of(self._within.space, subnet)
        verdict: Verdict = "scored"
        if not self._within.budget.holds(costs):
            verdict = "over_budget"
        elif subnet in self._proposed:
            verdict = "repeated"
        return Candidate(
            number=number,
            generation=self._generation,
            subnet=subnet,
            costs=costs,
            score=None,
            verdict=verdict,
        )

    def _given(self, number: int, rejected: int) -> dict[str, Gene] | None:
        """Genes of the first generation and of newcomers; None to breed a child."""
        rng = np.random.default_rng([self._seed, number, 2])
        space = self._within.space
        if number == 0:
            return genes_of(space, self._within.largest(), rng)
        if self._generation == 0 or rejected >= MOST_REJECTED:
            return genes_of(space, self._newcomer(rng), rng)
        return None

    def _newcomer(self, rng: np.random.Generator) -> AnySubnet:
        """Draw a subnet that fits and is new; there is one while a generation lacks members."""
        for _ in range(MOST_REJECTED):
            subnet = self._within.sample(rng)
            if subnet not in self._proposed:
                return subnet
        # Nearly all that fit were proposed: take the next free one in order.
        count = self._within.count
        start = uniform_below(count, rng)
        ranks = ((start + offset) % count for offset in range(len(self._proposed) + 1))
        free = (s for s in map(self._within.at, ranks) if s not in self._proposed)
        return next(free)
