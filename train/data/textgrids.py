"""Praat's TextGrids, by praatio: a small library, kept up, that reads their long and short text
formats in UTF-8 and UTF-16."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError

_TOLERANCE_S = 1e-3
"""Between the end of a tier and that of its last interval, as rounding may leave it."""


def labels_of(path: Path, tier: str) -> list[str]:
    """Labels of a tier's intervals in order, without blanks around them.

    Raises:
        DataError: no such file or tier, a file that is no TextGrid or ends early, intervals that
            overlap, or praatio is not installed.
    """
    try:
        from praatio import textgrid
        from praatio.utilities.errors import PraatioException
    except ImportError:
        raise DataError(
            f"{path} is read by praatio, which is not installed: pip install otolite[train]"
        ) from None

    try:
        grid = textgrid.openTextgrid(
            str(path),
            includeEmptyIntervals=True,
            reportingMode="silence",
            duplicateNamesMode="rename",
        )
    except FileNotFoundError:
        raise DataError(f"{path} is missing; name a TextGrid") from None
    except (PraatioException, ValueError, LookupError, TypeError, AttributeError) as fault:
        raise DataError(_unusable(path, f"{type(fault).__name__}: {fault}")) from None
    if tier not in grid.tierNames:
        raise DataError(_unusable(path, f"it has no tier {tier!r} but {', '.join(grid.tierNames)}"))
    found = grid.getTier(tier)
    intervals = found.entries
    if found.tierType != textgrid.INTERVAL_TIER:
        raise DataError(_unusable(path, f"its tier {tier!r} is of points"))
    # Praat's tiers have no gaps; the library reads a file that was cut off without complaint.
    if not intervals or intervals[-1].end < found.maxTimestamp - _TOLERANCE_S:
        raise DataError(_unusable(path, f"its tier {tier!r} ends early"))
    return [interval.label for interval in intervals]


def _unusable(path: Path, reason: str) -> str:
    return f"{path} is no TextGrid that can be used ({' '.join(reason.split())}); get it anew"
