"""Read a recipe: TOML that people write, checked against a frozen dataclass."""

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from .errors import RecipeError
from .nearest import nearest

Recipe = TypeVar("Recipe")


def load_recipe(
    name: str, schema: type[Recipe], folder: Path, overrides: Iterable[str] = ()
) -> Recipe:
    """Read a recipe by name or path and check it.

    Args:
        name: a recipe of `folder` without its ending, or a path to a .toml file.
        schema: the dataclass that the recipe fills.
        folder: where named recipes live.
        overrides: `key.path=value` strings, the value in TOML (a bare word is a string).

    Raises:
        RecipeError: no such recipe, broken TOML, an unknown key (the nearest is named), or a
            value that breaks a rule.
    """
    path = find_recipe(name, folder)
    values = _values(path)
    values.pop("about", None)
    for override in overrides:
        _apply(values, override)
    return check(values, schema, str(path))


def load_kind(
    name: str,
    key: str,
    schemas: Mapping[str, type[Recipe]],
    folder: Path,
    overrides: Iterable[str] = (),
) -> Recipe:
    """Read a recipe whose kind it says itself; other arguments and errors as for `load_recipe`.

    Args:
        name: of the recipe, or its path.
        key: what the recipe calls its kind.
        schemas: the dataclass of each kind.
        folder: where named recipes live.
        overrides: `key.path=value` strings.
    """
    path = find_recipe(name, folder)
    values = _values(path)
    kind = str(values.get(key))
    if kind not in schemas:
        said = f"has {key} {kind!r}" if key in values else f"has no {key}"
        raise RecipeError(f"{path} cannot be used here: it {said}; {nearest(kind, schemas)}")
    return load_recipe(name, schemas[kind], folder, overrides)


def find_recipe(name: str, folder: Path) -> Path:
    """The file behind a recipe's name or path."""
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"there is no recipe file {path}")
        return path
    path = folder / f"{name}.toml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.toml"))
        raise RecipeError(
            f"there is no recipe {name!r}: {nearest(name, known)} (compress recipes lists them)"
        )
    return path


def check(values: dict[str, Any], schema: type[Recipe], source: str) -> Recipe:
    """Turn plain values into `schema`, or say in one line what is wrong and where."""
    try:
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as fault:
        raise RecipeError(f"{source}: {_explain(fault, schema)}") from None


def _values(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise RecipeError(f"{path} is not valid TOML: {fault}") from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RecipeError(
            f"--set takes key=value, for example optimizer.learning_rate=1e-3; got {override!r}"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.split(".")
    node: Any = values
    for parent in parents:
        if isinstance(node, list) and parent.isdecimal() and int(parent) < len(node):
            node = node[int(parent)]
        elif isinstance(node, dict):
            node = node.setdefault(parent, {})
        else:
            raise RecipeError(f"--set {key}: {parent!r} is not a table of the recipe")
    if not isinstance(node, dict):
        raise RecipeError(f"--set {key}: {'.'.join(parents)!r} is not a table of the recipe")
    node[last] = value


def _explain(fault: ValidationError, schema: type) -> str:
    # A misspelt key that is needed is missing, too; what was written says more than what was not.
    first = min(fault.errors(), key=lambda error: error["type"] != "unexpected_keyword_argument")
    place = ".".join(str(part) for part in first["loc"]) or "recipe"
    if first["type"] == "unexpected_keyword_argument":
        known = _keys_at(schema, first["loc"][:-1])
        typo = str(first["loc"][-1])
        return f"unknown key {place!r}: {nearest(typo, known)}"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def _keys_at(schema: Any, location: tuple[int | str, ...]) -> list[str]:
    """Field names of the dataclass that `location` leads to."""
    for part in location:
        if isinstance(part, str) and dataclasses.is_dataclass(schema):
            schema = get_type_hints(schema).get(part)
        inner = [kind for kind in get_args(schema) if dataclasses.is_dataclass(kind)]
        if inner:
            schema = inner[0]
    return (
        [field.name for field in dataclasses.fields(schema)]
        if dataclasses.is_dataclass(schema)
        else []
    )
