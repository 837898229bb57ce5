"""Cells and rows of the pages' tables."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], *, digits: int = 1, signed: bool = False) -> str:
    """Mean ± deviation (each); a single value alone."""
    plus = "+" if signed else ""
    each = ", ".join(f"{value:{plus}.{digits}f}" for value in values)
    if len(values) < 2:
        return each
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    return f"{mean:{plus}.{digits}f} ± {deviation:.{digits}f} ({each})"


def line(*cells: str) -> str:
    """A row."""
    return f"| {' | '.join(cells)} |"
