"""Optuna's NSGA-II as a function of the past: the same history and step give the same child."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from .genes import Gene


class Breeder(NSGAIISampler):
    """Proposes one candidate, either `given` or bred from the trials that were scored.

    Made anew for each step, so that no state of a generator has to survive an interruption.
    """

    def __init__(
        self, *, population: int, seed: int, step: int, given: Mapping[str, Gene] | None
    ) -> None:
        """Prepare step number `step` of the search with this `seed`, both 0 or more."""
        word = np.random.SeedSequence([seed, step]).generate_state(1)[0]
        super().__init__(population_size=population, seed=int(word))
        self._given = given
        # The parent class draws mutations from a second generator of the same seed, which would
        # tie a mutated gene to the crossover's first draw once both start anew at each step.
        self._mutations = np.random.default_rng([seed, step, 1])

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Genes to inherit: none when all are given."""
        if self._given is not None:
            return {}
        return dict(super().infer_relative_search_space(study, trial))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Genes from parents. A given candidate joins the current generation all the same.

        Optuna's own queue would leave it out: a queued trial belongs to no generation, and
        nothing would descend from it.
        """
        if self._given is not None:
            self.get_trial_generation(study, trial)
            return {}
        return dict(super().sample_relative(study, trial, search_space))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The given gene, or a mutated one, uniform over its alleles."""
        if self._given is not None:
            return self._given[param_name]
        alleles = param_distribution.choices
        return alleles[self._mutations.integers(len(alleles))]

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The elite, by trial number.

        Optuna returns it by rank the first time and by number once it is stored; parents are
        drawn by position, so a resumed search would breed other children.
        """
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)
