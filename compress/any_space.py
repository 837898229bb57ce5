"""Spaces and subnets of either kind: encoders of the wav2vec 2.0 family, and keyword models."""

import json

from train.nearest import nearest

from .keyword_spaces import KeywordSpace, KeywordSubnet
from .spaces import Space, SpaceError, get_space, space_names
from .subnet import Subnet

AnySpace = Space | KeywordSpace
AnySubnet = Subnet | KeywordSubnet


def find_space(name: str) -> AnySpace:
    """The space of this name; torch is imported where it is no encoders' space.

    Raises:
        SpaceError: no such space; the message holds the nearest name.
    """
    if name in space_names():
        return get_space(name)
    from .keyword_space_table import KEYWORD_SPACES

    if name not in KEYWORD_SPACES:
        raise SpaceError(
            f"unknown space {name!r}: {nearest(name, [*space_names(), *KEYWORD_SPACES])}"
        )
    return KEYWORD_SPACES[name]


def read_subnet(text: str) -> AnySubnet:
    """Read what `to_json` of a subnet of either kind wrote, or a person.

    Raises:
        SubnetError: as `Subnet.from_json`, or a keyword model's sizes that its space lacks.
    """
    try:
        written = json.loads(text)
    except (ValueError, RecursionError):
        written = None  # told below
    name = written.get("space") if isinstance(written, dict) else None
    if isinstance(name, str) and name not in space_names():
        from .keyword_space_table import KEYWORD_SPACES

        if name in KEYWORD_SPACES:
            return KEYWORD_SPACES[name].read(written)
    return Subnet.from_json(text)
