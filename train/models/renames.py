"""Tables of tensor names: what another toolkit calls a tensor and what we call it, both ways.

A name in a table is a template: `{i}` stands for a number, `{i+1}` for one that is one higher on
that side, and a name that ends in a dot goes on as it pleases (`fc1.` means its weight and bias).
"""

import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import LayoutError

_NUMBER = re.compile(r"\{(\w)(?:\+(\d+))?\}")
_LAYER = "l"
_REST = "rest"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One tensor of theirs is one or more of ours; how its values lie is the subclass's."""

    theirs: str
    ours: tuple[str, ...]
    only: tuple[str, object] | None = None
    """Write this name only where our config has this value; reading needs no such help."""
    after: str | None = None
    """Our layers `{l}` go on after those that this template of theirs uses."""

    def read(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Their tensor as ours; ValueError says why its shape is impossible."""
        return (tensor,)

    def write(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """Ours as theirs."""
        return tensors[0]

    def surplus(self, tensor: Tensor) -> str:
        """What `read` leaves out of this tensor, in words; nothing as a rule."""
        return ""


@dataclass(frozen=True, kw_only=True)
class Split(Rule):
    """Several of ours, stacked on the first axis of theirs."""

    def read(self, tensor: Tensor) -> tuple[Tensor, ...]:
        if not tensor.ndim or tensor.shape[0] % len(self.ours):
            raise ValueError(f"its first axis must be a multiple of {len(self.ours)}")
        return tuple(part.clone() for part in tensor.chunk(len(self.ours)))

    def write(self, tensors: tuple[Tensor, ...]) -> Tensor:
        return torch.cat(tensors)


@dataclass(frozen=True, kw_only=True)
class Vector(Rule):
    """A vector that lies along another axis on each side, -1 marking which."""

    theirs_shape: tuple[int, ...]
    ours_shape: tuple[int, ...]

    def read(self, tensor: Tensor) -> tuple[Tensor, ...]:
        if tensor.numel() != max(tensor.shape, default=0):
            raise ValueError("it must be a vector: all axes but one of length 1")
        return (tensor.reshape(self.ours_shape),)

    def write(self, tensors: tuple[Tensor, ...]) -> Tensor:
        return tensors[0].reshape(self.theirs_shape)


@dataclass(frozen=True, kw_only=True)
class Rows(Rule):
    """A table whose first rows mean nothing to us where it has one of these heights."""

    skip: int
    heights: tuple[int, ...]
    why: str

    def read(self, tensor: Tensor) -> tuple[Tensor, ...]:
        return (tensor[self.skip :].clone() if self.surplus(tensor) else tensor,)

    def write(self, tensors: tuple[Tensor, ...]) -> Tensor:
        (rows,) = tensors
        if rows.shape[0] + self.skip not in self.heights:
            return rows
        return torch.cat([rows.new_zeros(self.skip, *rows.shape[1:]), rows])

    def surplus(self, tensor: Tensor) -> str:
        return self.why if tensor.ndim and tensor.shape[0] in self.heights else ""


@dataclass(frozen=True)
class Drop:
    """Names (with `*`) that we know and have no use for, and why."""

    theirs: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Everything that a layout may hold."""

    encoder: tuple[Rule, ...]
    heads: tuple[Rule, ...] = ()
    """What pretraining needs beside the encoder; our names as in `heads.py`."""
    dropped: tuple[Drop, ...] = ()
    needed: tuple[str, ...] = ()
    """Tensors of ours that only some encoders have, and all of this layout."""
    prefixes: tuple[str, ...] = ()
    """What may stand before every name of the encoder, longest first."""

    def stripped(self, key: str) -> str:
        """`key` without the first prefix that it has."""
        prefix = next((start for start in self.prefixes if key.startswith(start)), "")
        return key[len(prefix) :]


@dataclass
class Renamed:
    """A file's tensors under our names."""

    encoder: dict[str, Tensor] = field(default_factory=dict)
    heads: dict[str, Tensor] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    """Our name, of encoder or heads, to theirs."""
    dropped: dict[str, list[str]] = field(default_factory=dict)
    """Why, to their names."""


def one(theirs: str, ours: str, only: tuple[str, object] | None = None) -> Rule:
    """The common rule: one tensor, as it is."""
    return Rule(theirs=theirs, ours=(ours,), only=only)


def weight_normed(theirs: str, ours: str, *, new_names: bool) -> tuple[Rule, ...]:
    """A weight-normalized convolution: gain and direction under torch's old names and its new ones.

    Args:
        theirs: their convolution, a dot at the end.
        ours: ours, likewise.
        new_names: which of the two names is written; both are read.
    """
    old, new = ("weight_g", "weight_v"), tuple(f"parametrizations.weight.original{i}" for i in "01")
    rules: list[Rule] = []
    for gain, direction in (new, old) if new_names else (old, new):
        # One gain for each tap of the kernel.
        rules += [
            Vector(
                theirs=theirs + gain,
                ours=(ours + new[0],),
                theirs_shape=(1, 1, -1),
                ours_shape=(1, 1, -1),
            ),
            one(theirs + direction, ours + new[1]),
        ]
    plain = (one(theirs + name, ours + name) for name in ("weight", "bias"))
    return (*rules, *plain)


def read_names(values: Mapping[str, object], table: Table) -> Renamed:
    """Rename a file's tensors.

    Args:
        values: by their names; what is no tensor is allowed only where the table drops it.
        table: the layout's.

    Raises:
        LayoutError: a name that the table lacks, an impossible shape, or two tensors for one of
            ours.
    """
    found = Renamed()
    names = [table.stripped(key) for key in values]
    encoder, heads = (_readers(rules, names) for rules in (table.encoder, table.heads))
    for key, value in values.items():
        name = table.stripped(key)
        drop = next(
            (drop for drop in table.dropped if fnmatch.fnmatchcase(name, drop.theirs)), None
        )
        if drop is not None:
            found.dropped.setdefault(drop.why, []).append(key)
            continue
        match, state = _match(name, encoder), found.encoder
        if match is None:
            match, state = _match(name, heads), found.heads
        if match is None:
            raise LayoutError(f"{key} is unexpected: the layout has no tensor of that name")
        if not isinstance(value, Tensor):
            raise LayoutError(f"{key} holds a {type(value).__name__} where a tensor should be")
        _take(found, state, key, value, *match)
    return found


def _take(
    found: Renamed, state: dict[str, Tensor], key: str, value: Tensor, rule: Rule, ours: list[str]
) -> None:
    try:
        parts = rule.read(value)
    except ValueError as fault:
        raise LayoutError(f"{key} has the shape {tuple(value.shape)}: {fault}") from None
    for name, part in zip(ours, parts, strict=True):
        if name in found.origin:
            raise LayoutError(f"{found.origin[name]} and {key} are the same tensor; keep one")
        state[name] = part
        found.origin[name] = key
    if why := rule.surplus(value):
        found.dropped.setdefault(why, []).append(key)


def write_names(
    state: Mapping[str, Tensor], rules: Iterable[Rule], config: object
) -> dict[str, Tensor]:
    """Name our tensors as another toolkit does.

    Args:
        state: tensors by our names.
        rules: the encoder's or the heads' part of a table.
        config: our config; the rules ask it which of two names to write.

    Raises:
        LayoutError: a tensor that the layout has no name for.
    """
    written = {}
    for name in state:
        writer = next(_writers(name, rules, config), None)
        if writer is None:
            raise LayoutError(f"the layout has no name for our {name}")
        rule, theirs, parts = writer
        if name == parts[0]:
            written[theirs] = rule.write(tuple(state[part] for part in parts))
    return written


def their_name(ours: str, table: Table, config: object, keys: Iterable[str]) -> str:
    """What a file with these names calls one of our tensors; our name where the layout has none."""
    names = [table.stripped(key) for key in keys]
    writer = next(_writers(ours, (*table.encoder, *table.heads), config, names), None)
    return ours if writer is None else writer[1]


def _writers(
    name: str, rules: Iterable[Rule], config: object, names: Collection[str] = ()
) -> Iterator[tuple[Rule, str, list[str]]]:
    """Rules that write our tensor, with their name and all of ours that it is made of."""
    for rule in rules:
        if not _applies(rule, config):
            continue
        for template in rule.ours:
            numbers = _numbers(name, template)
            if numbers is None:
                continue
            ours = [_fill(part, numbers) for part in rule.ours]
            if rule.after is not None:
                numbers[_LAYER] -= _count(rule.after, names)
                if numbers[_LAYER] < 0:
                    continue
            yield rule, _fill(rule.theirs, numbers), ours


def _applies(rule: Rule, config: object) -> bool:
    if rule.only is None:
        return True
    key, value = rule.only
    return bool(getattr(config, key, value) == value)


def _readers(rules: Iterable[Rule], names: list[str]) -> list[tuple[Rule, int]]:
    """Rules with the number that their own numbers go on after."""
    return [(rule, 0 if rule.after is None else _count(rule.after, names)) for rule in rules]


def _count(template: str, names: Iterable[str]) -> int:
    matches = (_numbers(name, template) for name in names)
    return max((match[_LAYER] + 1 for match in matches if match), default=0)


def _match(name: str, readers: list[tuple[Rule, int]]) -> tuple[Rule, list[str]] | None:
    for rule, offset in readers:
        numbers = _numbers(name, rule.theirs)
        if numbers is not None:
            if offset:
                numbers[_LAYER] += offset
            return rule, [_fill(ours, numbers) for ours in rule.ours]
    return None


def _numbers(name: str, template: str) -> dict[str, Any] | None:
    """What the template's places hold in `name`; None where it does not fit."""
    match = _pattern(template).fullmatch(name)
    if match is None:
        return None
    found: dict[str, Any] = {_REST: match.groupdict().get(_REST) or ""}
    for letter, more in _NUMBER.findall(template):
        number = int(match[letter]) - int(more or 0)
        if number < 0:
            return None
        found[letter] = number
    return found


_patterns: dict[str, re.Pattern[str]] = {}


def _pattern(template: str) -> re.Pattern[str]:
    if template not in _patterns:
        parts = _NUMBER.split(template)  # text, letter, more, text, letter, more, … text
        pattern = re.escape(parts[0])
        for letter, text in zip(parts[1::3], parts[3::3], strict=True):
            pattern += rf"(?P<{letter}>\d+)" + re.escape(text)
        if template.endswith("."):
            pattern += rf"(?P<{_REST}>.+)"
        _patterns[template] = re.compile(pattern)
    return _patterns[template]


def _fill(template: str, numbers: Mapping[str, Any]) -> str:
    filled = _NUMBER.sub(lambda match: str(numbers[match[1]] + int(match[2] or 0)), template)
    return filled + numbers[_REST] if template.endswith(".") else filled
