"""The one description of an architecture chosen from a space."""

import json
from dataclasses import asdict, fields
from typing import Annotated, Self

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from train.nearest import nearest

from . import CompressError

_Count = Annotated[int, Field(strict=True, ge=1)]


class SubnetError(CompressError):
    """A subnet is badly written, or lies outside its space."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Subnet:
    """A choice of sizes; nothing derived is stored. Hashable, and equal when the sizes are."""

    space: Annotated[str, Field(strict=True)]
    """Name of the space that it was chosen from."""
    embed_dim: _Count
    """Width of the transformer, one for all layers."""
    num_heads: tuple[_Count, ...]
    """Attention heads of each kept layer, first layer first."""
    ffn_dim: tuple[_Count, ...]
    """Hidden width of each kept layer's feed-forward block, in units."""
    conv_channels: tuple[_Count, ...] = ()
    """Channels of each layer of the feature extractor; empty where the space leaves them alone."""

    def __post_init__(self) -> None:
        if not self.num_heads or len(self.num_heads) != len(self.ffn_dim):
            raise ValueError(
                f"num_heads and ffn_dim must list the same number of layers, one or more; "
                f"got {len(self.num_heads)} and {len(self.ffn_dim)}"
            )

    @property
    def depth(self) -> int:
        """Transformer layers."""
        return len(self.num_heads)

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the fields; `conv_channels` where it is chosen."""
        written = asdict(self)
        if not self.conv_channels:
            del written["conv_channels"]
        return json.dumps(written)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote, or a person.

        Raises:
            SubnetError: not JSON, an unknown or missing key, a value of the wrong type or size.
        """
        try:
            written = json.loads(text)
        except json.JSONDecodeError as error:
            raise SubnetError(
                f"a subnet must be JSON, got {text[:60]!r}: {error}. Write it as "
                '{"space": "…", "embed_dim": 384, "num_heads": […], "ffn_dim": […]}.'
            ) from error
        known = [field.name for field in fields(cls)]
        if not isinstance(written, dict):
            raise SubnetError(
                f"a subnet must be a JSON object with the keys {', '.join(known)}, "
                f"got {type(written).__name__}"
            )
        for key in written:
            if key not in known:
                raise SubnetError(f"unknown key {key!r} in a subnet: {nearest(key, known)}")
        needed = [key for key in known if key != "conv_channels"]
        missing = [key for key in needed if key not in written]
        if missing:
            raise SubnetError(
                f"a subnet needs the keys {', '.join(needed)}; add {', '.join(missing)}"
            )
        try:
            return cls(**written)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "subnet"
            # A rule across fields has the whole object as its input: its message names the values.
            value = f", got {first['input']!r}" if first["loc"] else ""
            raise SubnetError(
                f"{place} of the subnet is not valid: {first['msg']}{value}"
            ) from error


def check_origin(chosen_from: str, space: str) -> None:
    """Refuse a subnet that another space describes.

    Raises:
        SubnetError: names both spaces.
    """
    if chosen_from != space:
        raise SubnetError(
            f"the subnet was chosen from space {chosen_from!r}, not {space!r}; use that space or "
            "change the subnet's"
        )
