"""Phone alignments beside a manifest: phones.jsonl, one JSON object a line.

{"path": "a.wav", "phones": [["AH", 0.12, 0.08], ...]}: symbol, start and duration in s.
"""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from ..errors import DataError

NAME = "phones.jsonl"

Phone = tuple[str, float, float]
"""A phone, its start in its recording and its duration, both in s."""

_OVERLAP_S = 0.001
_OVERHANG_S = 0.1
"""Aligners round times, and the last phone's end by up to a few frames."""


def read_phones(path: Path, durations_s: Mapping[str, float]) -> dict[str, list[Phone]]:
    """Read alignments; not every recording needs one.

    Args:
        path: the file.
        durations_s: of every recording of the corpus, by its path in the manifest.

    Returns:
        phones of recordings, in the order of their starts.

    Raises:
        DataError: the first line that cannot be right, with its number.
    """
    found: dict[str, list[Phone]] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as fault:
        raise DataError(f"{path} is no text in UTF-8 ({fault}); save it as one again") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        recording, phones = _entry(line, where)
        if recording not in durations_s:
            raise DataError(
                f"{where}: path {recording!r} is in no row of the manifest; write it as it is "
                "there, or remove the line"
            )
        if recording in found:
            raise DataError(f"{where} repeats {recording!r}; remove one of the two")
        _check_times(phones, durations_s[recording], where)
        found[recording] = phones
    return found


def _entry(line: str, where: str) -> tuple[str, list[Phone]]:
    try:
        entry = json.loads(line)
    except ValueError as fault:
        raise DataError(f"{where} is not JSON ({fault}); write one object a line") from None
    if not isinstance(entry, dict) or set(entry) != {"path", "phones"}:
        raise DataError(f"{where}: an object with 'path' and 'phones' alone is needed")
    if not isinstance(entry["path"], str) or not isinstance(entry["phones"], list):
        raise DataError(f"{where}: 'path' must be text and 'phones' a list")
    return entry["path"], [_phone(item, where) for item in entry["phones"]]


def _phone(item: Any, where: str) -> Phone:
    match item:
        case [str(symbol), int() | float() as start, int() | float() as duration] if (
            symbol
            and not isinstance(start, bool)
            and not isinstance(duration, bool)
            and isfinite(start)
            and isfinite(duration)
            and start >= 0
            and duration > 0
        ):
            return symbol, float(start), float(duration)
    raise DataError(
        f"{where}: phone {json.dumps(item)} is not a symbol, a start of 0 s or more and a positive "
        "duration in s"
    )


def _check_times(phones: list[Phone], duration_s: float, where: str) -> None:
    end_s = 0.0
    for symbol, start_s, length_s in phones:
        if start_s < end_s - _OVERLAP_S:
            raise DataError(
                f"{where}: phone {symbol!r} starts at {start_s:g} s, before the one in front of it "
                f"ends at {end_s:g} s; correct the times"
            )
        end_s = start_s + length_s
    if end_s > duration_s + _OVERHANG_S:
        raise DataError(
            f"{where}: the phones end at {end_s:g} s and the recording at {duration_s:g} s; "
            "correct the times"
        )
