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
        if isinstance(value, dict) and any(isinstance(part, dict | str) for part in value.values()):
            yield name.rstrip()
            yield from _lines(value, indent + "  ")
        else:
            yield name + _text(value)


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
