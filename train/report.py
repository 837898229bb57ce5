"""A run as one page of HTML: what was asked, what was measured, how fast. No network needed."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from .curves import curve
from .errors import TrainError
from .page import in_words, table, write_page

METRICS, TIMING = "metrics.jsonl", "timing.jsonl"


@dataclass(frozen=True)
class Part:
    """A round or a stage: a folder that has its own metrics."""

    name: str
    """Empty for the run's own folder."""
    metrics: tuple[dict[str, float], ...]
    """Lines of metrics.jsonl, whole ones alone."""
    timing: tuple[dict[str, float], ...]
    """Lines of timing.jsonl."""
    units: dict[str, Any] | None
    """How good a HuBERT round's units are, where phones were known."""
    skipped: int
    """Lines that are damaged."""

    @property
    def updates(self) -> int:
        """Updates that left a trace."""
        steps = [line["step"] for line in (*self.metrics, *self.timing)]
        return int(max(steps, default=-1)) + 1

    def total(self, name: str) -> float:
        """Sum of a column of timing.jsonl."""
        return sum(line.get(name, 0.0) for line in self.timing)


@dataclass(frozen=True)
class Report:
    """What a page was made of."""

    updates: int
    """Updates done in all parts."""
    skipped: int
    """Damaged lines that were left out."""


def write_report(run: Path, page: Path) -> Report:
    """Write a run's page; the run may still be going on.

    Args:
        run: the folder of a pretraining, distillation or fine-tuning.
        page: the HTML file; one that is there is replaced.

    Raises:
        TrainError: the folder holds no run.
    """
    parts = _parts(run)
    config = _json(run / "config.json")
    if config is None and not parts:
        raise TrainError(f"{run} holds no run: there is no config.json and no metrics.jsonl in it")
    write_page(page, run.resolve().name, _body(run, config or {}, parts))
    return Report(sum(part.updates for part in parts), sum(part.skipped for part in parts))


def _parts(run: Path) -> list[Part]:
    folders = [run, *sorted((path for path in run.glob("*/") if path.is_dir()), key=_natural)]
    found = []
    for folder in folders:
        if (folder / METRICS).is_file():
            metrics, damaged = _lines(folder / METRICS)
            timing, more = _lines(folder / TIMING)
            units = _json(folder / "units.json")
            name = "" if folder == run else folder.name
            found.append(Part(name, metrics, timing, units, damaged + more))
    return found


def _natural(path: Path) -> list[Any]:
    """round10 comes after round2."""
    pieces = re.split(r"(\d+)", path.name)
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)]


def _lines(path: Path) -> tuple[tuple[dict[str, float], ...], int]:
    """Whole lines, and how many are not."""
    if not path.is_file():
        return (), 0
    kept, damaged = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict) and _are_numbers(values) and math.isfinite(values["step"]):
            kept.append({str(name): float(value) for name, value in values.items()})
        else:
            damaged += 1
    return tuple(kept), damaged


def _are_numbers(values: Mapping[str, Any]) -> bool:
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) != 10**400
        for value in values.values()
    )
    return numbers and "step" in values


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _body(run: Path, config: Mapping[str, Any], parts: list[Part]) -> Iterable[str]:
    yield table(_summary(run, config, parts))
    for part in parts:
        if part.skipped:
            place = escape(part.name or "the run")
            yield f'<p class="note">{part.skipped} damaged lines of {place} were left out.</p>'
    if any(part.metrics for part in parts):
        yield "<h2>Last numbers</h2>"
        yield _last_numbers(parts)
    yield from _measured(run, parts)
    yield "<h2>Curves, by update</h2>"
    yield from _curves(parts)
    yield "<h2>Recipe</h2>"
    yield f"<pre>{escape(json.dumps(config.get('recipe'), indent=2, ensure_ascii=False))}</pre>"


def _summary(run: Path, config: Mapping[str, Any], parts: list[Part]) -> Iterable[tuple[str, str]]:
    recipe = config.get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    kinds = [str(recipe[key]) for key in ("objective", "scheme", "task") if key in recipe]
    yield "what", ", ".join(kinds) or "unknown"
    yield "state", "done" if (run / "model").is_dir() else "going on, or stopped"
    made_from = config.get("from")
    for key, value in (made_from if isinstance(made_from, dict) else {}).items():
        yield key.replace("_", " "), in_words(value)
    yield "seed", in_words(recipe.get("seed", "unknown"))
    yield "commit", in_words(config.get("commit") or "not a checkout")
    yield "versions", in_words(config.get("versions", "unknown"))
    for part in parts:
        updates = f"{part.updates:,} updates"
        seconds, audio = part.total("seconds"), part.total("audio_seconds")
        if seconds > 0:
            updates += (
                f" in {seconds / 3600:.2f} h, {audio / 3600:.1f} h of audio, "
                f"{audio / seconds:.1f} s of audio a second"
            )
        yield part.name or "trained", updates


def _last_numbers(parts: list[Part]) -> str:
    names = _metric_names(parts)
    head = "".join(f"<th>{escape(part.name)}</th>" for part in parts)
    rows = [f"<tr><th></th>{head}</tr>"]
    for name in names:
        cells = "".join(
            f'<td class="number">{_number(part.metrics[-1].get(name)) if part.metrics else ""}</td>'
            for part in parts
        )
        rows.append(f"<tr><td>{escape(name.replace('_', ' '))}</td>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _measured(run: Path, parts: list[Part]) -> Iterable[str]:
    """What was found beside the metrics: units and scores."""
    for part in parts:
        if part.units is not None:
            yield f"<h2>Units of {escape(part.name or 'the run')}</h2>"
            yield table((name.replace("_", " "), in_words(part.units[name])) for name in part.units)
    scores = _json(run / "scores.json") or {}
    rows = [
        (f"{name} accuracy", in_words(score["accuracy"]))
        for name, score in scores.items()
        if isinstance(score, dict) and "accuracy" in score
    ]
    if rows:
        yield "<h2>Scores</h2>"
        yield table(rows)


def _curves(parts: list[Part]) -> Iterable[str]:
    """A row a metric, a column a round."""
    columns = f"grid-template-columns: repeat({max(len(parts), 2)}, 1fr)"
    yield f'<div class="curves" style="{columns}">'
    for name in _metric_names(parts):
        for part in parts:
            points = [(line["step"] + 1, line[name]) for line in part.metrics if name in line]
            yield f"<div>{curve(_title(part, name), points)}</div>"
    for part in parts:
        pace = [
            (line["step"] + 1, line.get("audio_seconds", 0.0) / line["seconds"])
            for line in part.timing
            if line.get("seconds", 0.0) > 0
        ]
        yield f"<div>{curve(_title(part, 'seconds of audio per second'), pace)}</div>"
    yield "</div>"


def _title(part: Part, name: str) -> str:
    return f"{part.name} {name.replace('_', ' ')}".strip()


def _metric_names(parts: list[Part]) -> list[str]:
    """All of them, the loss first."""
    names = {name: None for part in parts for line in part.metrics for name in line}
    return sorted(names.keys() - {"step"}, key=lambda name: (name != "loss", name))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
