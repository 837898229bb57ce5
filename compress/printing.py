"""Results on standard output: aligned lines for people, one JSON object for machines."""

import json
from collections.abc import Iterable
from typing import Any

import typer


def show(values: dict[str, Any], as_json: bool) -> None:
    """Print `values`, nested as they are."""
    typer.echo(json.dumps(values) if as_json else "\n".join(_lines(values)))


def _lines(values: dict[str, Any], indent: str = "") -> Iterable[str]:
    width = max(map(len, values), default=0)
    for key, value in values.items():
        name = f"{indent}{key.replace('_', ' '):<{width}}  "
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            yield name.rstrip()
            yield from _table(value, indent + "  ")
        elif isinstance(value, dict) and any(isinstance(v, dict | str) for v in value.values()):
            yield name.rstrip()
            yield from _lines(value, indent + "  ")
        else:
            yield name + _text(value)


def _table(rows: list[dict[str, Any]], indent: str) -> Iterable[str]:
    """Rows under one head, blank where a row lacks a key; numbers stand to the right."""
    columns = []
    for key in dict.fromkeys(key for record in rows for key in record):
        values = [record[key] for record in rows if key in record]
        texts = iter(_alike(values))
        cells = [key.replace("_", " "), *(next(texts) if key in row else "" for row in rows)]
        width, words = max(map(len, cells)), isinstance(values[0], str | dict)
        columns.append([f"{cell:<{width}}" if words else f"{cell:>{width}}" for cell in cells])
    for row in zip(*columns, strict=True):
        yield (indent + "  ".join(row)).rstrip()


def _alike(values: list[object]) -> list[str]:
    """A column's cells; where all are fractions, with as many decimals as the longest."""
    texts = [_text(value) for value in values]
    if "e" in "".join(texts) or not all(isinstance(value, float) for value in values):
        return texts
    decimals = max(len(text.partition(".")[2]) for text in texts)
    return [f"{value:.{decimals}f}" for value in values]


def _text(value: object) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
