"""`search.json`: what a search writes into its run folder for its page, read with care.

It may be of a search that still goes on, or was edited: what is missing or no number is left out.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from . import CompressError

SEARCH = "search.json"
SCHEMA = 1

COSTS = ("params", "macs", "latency_ns", "size_bytes")
"""Costs that a search may know and limit; MACs are of a second of audio, latency of the device
table's window."""


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """A subnet that was proposed, and what became of it."""

    number: int
    """Its place in the search, from 0."""
    subnet: Any
    """As it stands in the file."""
    costs: dict[str, float]
    """Those of `COSTS` that are known."""
    score: float | None
    """Lower is better; None where it was not scored."""
    verdict: str
    """`scored`, `over_budget` or `repeated`."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The winner."""

    number: int | None
    """Its place in the search."""
    subnet: Any
    """As it stands in the file."""
    score: float | None
    predicted: dict[str, float]
    """Costs by formula or device table."""
    measured: dict[str, float]
    """Costs of what was exported; empty where nothing was."""
    fine_tuned: Mapping[str, Any]
    """Scores before and after its own training; empty without one."""


@dataclass(frozen=True, kw_only=True)
class SearchFile:
    """A search as its file tells it."""

    space: str
    budgets: dict[str, float]
    """The most that each limited cost may be."""
    asked: Mapping[str, Any]
    """Scorer, seed, population and number of trials, those that are told."""
    feasibility: Mapping[str, Any]
    candidates: tuple[Proposed, ...]
    skipped: int
    """Entries that are no candidates."""
    winner: Chosen | None
    provenance: Any

    @classmethod
    def of(cls, search: Mapping[str, Any]) -> Self:
        """Take in the file's JSON.

        Raises:
            CompressError: of a later version, or not of a search.
        """
        schema = search.get("schema", SCHEMA)
        if schema != SCHEMA:
            raise CompressError(
                f"schema {schema!r} of a search's record is not {SCHEMA}, the one that is known "
                "here; use the version of otolite that wrote it"
            )
        listed = search.get("candidates")
        if not isinstance(listed, list):
            raise CompressError(
                f"a search's record needs a list of candidates, got {type(listed).__name__}; "
                "the search with --resume writes it again"
            )
        read = [_proposed(entry) for entry in listed]
        kept = tuple(candidate for candidate in read if candidate is not None)
        asked = ("scorer", "seed", "population", "num_trials")
        return cls(
            space=str(search.get("space", "unknown")),
            budgets=_costs(search.get("budgets")),
            asked={key: search[key] for key in asked if key in search},
            feasibility=_mapping(search.get("feasibility")),
            candidates=kept,
            skipped=len(read) - len(kept),
            winner=_chosen(search.get("winner")),
            provenance=search.get("provenance"),
        )

    @property
    def scored(self) -> list[tuple[Proposed, float]]:
        """Candidates that have a score, and it, in order."""
        pairs = ((candidate, candidate.score) for candidate in self.candidates)
        return [(candidate, score) for candidate, score in pairs if score is not None]

    def exceeded(self, candidate: Proposed) -> list[str]:
        """Costs of which a candidate has more than the budget."""
        return [
            cost
            for cost, most in self.budgets.items()
            if cost in candidate.costs and candidate.costs[cost] > most
        ]

    def is_extreme(self, candidate: Proposed, which: str) -> bool:
        """Whether it costs what the space's `smallest` or `largest` subnet does."""
        extreme = _costs(self.feasibility.get(which))
        common = extreme.keys() & candidate.costs.keys()
        return bool(common) and all(candidate.costs[cost] == extreme[cost] for cost in common)


def read_search(run: Path) -> dict[str, Any]:
    """The JSON that a search wrote into its run folder.

    Raises:
        CompressError: it is damaged.
    """
    path = run / SEARCH
    try:
        search = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as fault:
        raise CompressError(
            f"{path} is damaged ({fault}); the search with --resume writes it again"
        ) from None
    if not isinstance(search, dict):
        raise CompressError(f"{path} must hold a JSON object, got {type(search).__name__}")
    return search


def _proposed(entry: Any) -> Proposed | None:
    number = number_in(entry.get("number")) if isinstance(entry, dict) else None
    if number is None:
        return None
    return Proposed(
        number=int(number),
        subnet=entry.get("subnet"),
        costs=_costs(entry.get("costs")),
        score=number_in(entry.get("score")),
        verdict=str(entry.get("verdict", "unknown")),
    )


def _chosen(entry: Any) -> Chosen | None:
    if not isinstance(entry, dict):
        return None
    number = number_in(entry.get("number"))
    return Chosen(
        number=None if number is None else int(number),
        subnet=entry.get("subnet"),
        score=number_in(entry.get("score")),
        predicted=_costs(entry.get("predicted")),
        measured=_costs(entry.get("measured")),
        fine_tuned=_mapping(entry.get("fine_tuned")),
    )


def _costs(entry: Any) -> dict[str, float]:
    found = {cost: number_in(_mapping(entry).get(cost)) for cost in COSTS}
    return {cost: value for cost, value in found.items() if value is not None}


def _mapping(entry: Any) -> Mapping[str, Any]:
    return entry if isinstance(entry, dict) else {}


def number_in(value: Any) -> float | None:
    """A finite number as float; None for all else that JSON may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
