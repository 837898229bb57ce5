"""A space of keyword models: a body, its largest sizes, and what some of them may be instead.

A subnet is the body of the chosen sizes; its every tensor is the first part of the largest model's
(`keyword_slicing`). Sizes are those of a whole model, as keyword bodies have them, so that a space
is small enough to be listed: what fits a budget is counted by looking at each.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import numpy as np

from train.models.frontend_config import SAMPLE_RATE
from train.nearest import nearest

from .subnet import SubnetError, check_origin

Size = int | float
_MOST_SUBNETS = 100_000
"""More are not looked at one by one."""


@dataclass(frozen=True, kw_only=True)
class KeywordSubnet:
    """A choice of a keyword model's sizes. Hashable, and equal when the sizes are."""

    space: str
    """Name of the space that it was chosen from."""
    sizes: tuple[tuple[str, Size | tuple[Size, ...]], ...]
    """Those that are chosen, by their names in the body's config and in the space's order."""

    def to_json(self) -> str:
        """One line of JSON: the space, then each size."""
        return json.dumps({"space": self.space, **dict(self.sizes)})


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What one size may be."""

    size: str
    """Its name in the body's config."""
    values: tuple[Size, ...]
    """Ascending."""
    place: int | None = None
    """Of a size that lists several numbers: which of them, from 0; None: it is one number."""

    @property
    def name(self) -> str:
        """The size's, with its place."""
        return self.size if self.place is None else f"{self.size}.{self.place:02}"


@dataclass(frozen=True, kw_only=True)
class KeywordSpace:
    """A largest keyword model, and the choices that lead to the others."""

    name: str
    body: str
    """A name of `train.tasks.bodies.BODIES`."""
    full: Any
    """The body's config with the last of all choices."""
    choices: tuple[Choice, ...]
    num_labels: int = 12
    """Classes that models are counted with; those of a supernet where there is one."""
    window_samples: int = SAMPLE_RATE
    """What a model judges at once."""

    def __post_init__(self) -> None:
        for choice in self.choices:
            if not choice.values or list(choice.values) != sorted(set(choice.values)):
                raise ValueError(
                    f"{choice.name} of space {self.name!r} must list ascending choices, got "
                    f"{choice.values}"
                )
        if not 1 <= self.size() <= _MOST_SUBNETS:
            raise ValueError(
                f"space {self.name!r} must have 1 to {_MOST_SUBNETS:,} subnets, got {self.size():,}"
            )
        if self.config(self.largest()) != self.full:
            raise ValueError(f"full of space {self.name!r} must have the last of all choices")

    def size(self) -> int:
        """Number of subnets."""
        return prod(len(choice.values) for choice in self.choices)

    def every(self) -> Iterator[KeywordSubnet]:
        """All of them, in order: the last choice changes first."""
        return map(self._subnet, product(*(choice.values for choice in self.choices)))

    def largest(self) -> KeywordSubnet:
        """The subnet with the last choice everywhere: the stored model."""
        return self._subnet([choice.values[-1] for choice in self.choices])

    def smallest(self) -> KeywordSubnet:
        """The subnet with the first choice everywhere."""
        return self._subnet([choice.values[0] for choice in self.choices])

    def sample(self, rng: np.random.Generator) -> KeywordSubnet:
        """Draw one, each with the same probability."""
        return self._subnet(
            [choice.values[rng.integers(len(choice.values))] for choice in self.choices]
        )

    def config(self, subnet: KeywordSubnet) -> Any:
        """Sizes of the dense body.

        Raises:
            SubnetError: the subnet is not of this space.
        """
        self.check(subnet)
        return replace(self.full, **dict(subnet.sizes))

    def check(self, subnet: KeywordSubnet) -> None:
        """Refuse a subnet that cannot be chosen here.

        Raises:
            SubnetError: names the first value outside the choices, and the choices.
        """
        check_origin(subnet.space, self.name)
        values = self.values_of(subnet)
        for choice, value in zip(self.choices, values, strict=True):
            if value not in choice.values:
                raise SubnetError(
                    f"{choice.name} {value} is not in space {self.name!r}; choose one of "
                    f"{', '.join(map(str, choice.values))}"
                )

    def values_of(self, subnet: KeywordSubnet) -> tuple[Size, ...]:
        """A subnet's values in the order of the choices.

        Raises:
            SubnetError: it lacks a size, has others, or lists another number of them.
        """
        sizes, names = dict(subnet.sizes), list(self._places)
        if list(sizes) != names:
            raise SubnetError(
                f"a subnet of space {self.name!r} has the sizes {', '.join(names)}, in this order; "
                f"got {', '.join(sizes) or 'none'}"
            )
        values: list[Size] = []
        for name, places in self._places.items():
            size = sizes[name]
            if isinstance(size, tuple) != (places > 0) or (
                isinstance(size, tuple) and len(size) != places
            ):
                rule = f"list {places} numbers" if places else "be one number"
                raise SubnetError(f"{name} of space {self.name!r} must {rule}, got {size}")
            values += size if isinstance(size, tuple) else [size]
        return tuple(values)

    def read(self, values: Mapping[str, Any]) -> KeywordSubnet:
        """A subnet from its JSON's keys and values, in any order.

        Raises:
            SubnetError: an unknown or missing size, or a value outside the choices.
        """
        for key in values:
            if key != "space" and key not in self._places:
                raise SubnetError(f"unknown key {key!r} in a subnet: {nearest(key, self._places)}")
        found = tuple(
            (name, _plain(values[name])) for name in self._places if name in values
        )  # a missing one is told by `check`
        subnet = KeywordSubnet(space=str(values.get("space")), sizes=found)
        self.check(subnet)
        return subnet

    def subnet_of(self, genes: Mapping[str, Size]) -> KeywordSubnet:
        """The subnet of these values, by the choices' names."""
        return self._subnet([genes[choice.name] for choice in self.choices])

    @cached_property
    def _places(self) -> dict[str, int]:
        """Sizes in order, and how many numbers each lists; 0: it is one number."""
        places: dict[str, int] = {}
        for choice in self.choices:
            places[choice.size] = 0 if choice.place is None else choice.place + 1
        return places

    def _subnet(self, values: tuple[Size, ...] | list[Size]) -> KeywordSubnet:
        sizes: dict[str, Size | tuple[Size, ...]] = {}
        for choice, value in zip(self.choices, values, strict=True):
            before = sizes.get(choice.size, ())
            assert isinstance(before, tuple), "a number has one choice"
            sizes[choice.size] = value if choice.place is None else (*before, value)
        return KeywordSubnet(space=self.name, sizes=tuple(sizes.items()))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
