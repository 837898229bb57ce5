"""What a search proposes, and what became of it."""

from dataclasses import dataclass
from typing import Literal

from ..any_space import AnySubnet
from ..feasible import Feasibility

Verdict = Literal["scored", "over_budget", "repeated"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One proposal of the search, scored or rejected."""

    number: int
    """Its place in the search, from 0; rejected ones count."""
    generation: int
    """From 0."""
    subnet: AnySubnet
    costs: dict[str, int]
    """By every cost that is known, limited or not."""
    score: float | None
    """Lower is better; None when it was rejected."""
    verdict: Verdict
    """`repeated`: the same subnet was proposed before."""

    @property
    def feasible(self) -> bool:
        """Whether it keeps the budget."""
        return self.verdict != "over_budget"


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found, and how."""

    feasibility: Feasibility
    best: Candidate
    """The lowest score; the first of several."""
    candidates: tuple[Candidate, ...]
    """Every one, in order."""

    @property
    def score(self) -> float:
        """The winner's; lower is better."""
        assert self.best.score is not None  # only what was scored can win
        return self.best.score

    def num_candidates(self, verdict: Verdict) -> int:
        """Number of candidates that met this end."""
        return sum(candidate.verdict == verdict for candidate in self.candidates)
