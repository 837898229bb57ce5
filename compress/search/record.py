"""A search as JSON: what was asked, every candidate, the winner; what reports are drawn from."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.atomic import replacing_file

from ..any_space import AnySubnet
from ..search_file import SCHEMA, SEARCH
from .candidates import Candidate, SearchResult


def record(result: SearchResult, *, winner: Mapping[str, Any], **asked: Any) -> dict[str, Any]:
    """Put it together.

    Args:
        result: what the search found.
        winner: what is known of it beside its candidate: measured costs, fine-tuning.
        asked: how it was asked, and provenance; JSON values.
    """
    found = result.feasibility
    best = result.best
    return {
        "schema": SCHEMA,
        "space": found.space,
        "budgets": found.limits,
        **asked,
        "feasibility": {
            "subnets": found.num_subnets,
            "within": found.num_within,
            "within_each": found.num_within_each,
            "smallest": found.smallest_costs,
            "largest": found.largest_costs,
        },
        "candidates": [_row(candidate) for candidate in result.candidates],
        "winner": {
            "number": best.number,
            "subnet": plain(best.subnet),
            "score": best.score,
            "predicted": best.costs,
            **winner,
        },
    }


def plain(subnet: AnySubnet) -> dict[str, Any]:
    """A subnet as JSON values."""
    written: dict[str, Any] = json.loads(subnet.to_json())
    return written


def write(folder: Path, search: Mapping[str, Any]) -> None:
    """Write a search's record into its folder, whole or not at all."""
    with replacing_file(folder / SEARCH) as temporary:
        temporary.write_text(json.dumps(search, indent=1) + "\n", encoding="utf-8")


def _row(candidate: Candidate) -> dict[str, Any]:
    return {**asdict(candidate), "subnet": plain(candidate.subnet)}
