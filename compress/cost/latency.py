"""Latency of a subnet on a device that is not here, from a table measured there.

The table holds the time of each building block of a space (`compress blocks`, then
`python -m runtime bench --blocks` on the device). A subnet's latency is the sum over its blocks,
each without what running any graph costs, and that cost once. Times are integers, in ns, so that a
search can count exactly how many subnets fit a limit.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from runtime.blocks import SCHEMA_VERSION
from train.models.wav2vec2_config import Wav2Vec2Config

from .. import CompressError
from ..any_space import AnySpace
from ..keyword_spaces import KeywordSpace
from ..spaces import Space
from .model_times import timed_models

_CHECKED = ConfigDict(extra="forbid")
_Count = Annotated[int, Field(strict=True, ge=1)]
_Text = Annotated[str, Field(strict=True)]


@dataclass(frozen=True, config=_CHECKED)
class BlockTime:
    """How long one block takes, what running any graph costs included."""

    median_ns: _Count
    p90_ns: _Count


@dataclass(frozen=True, kw_only=True, eq=False, config=_CHECKED)
class DeviceTable:
    """Times of a space's building blocks on one device, as `runtime.bench` measured them.

    A cost like the others (`cost.Cost`), in ns for one window: `rest` plus `layer` of each layer.
    """

    schema_version: _Count
    space: _Text
    """Name of the space whose blocks were timed."""
    definition: _Text
    """The space's `definition` where the blocks were made."""
    window_samples: _Count
    """Length of the waveform that the latencies are for."""
    threads: _Count
    """Processor threads of the engine."""
    rounds: _Count
    """Runs of each block."""
    machine: _Text
    """System and architecture."""
    processor: _Text
    cores: _Count
    engine: _Text
    """Name and version."""
    date: _Text
    """Of the measurement, ISO 8601, UTC."""
    overhead_ns: _Count
    """What running any graph costs, median."""
    blocks: dict[str, BlockTime]
    """By key."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `python -m runtime bench --blocks` wrote.

        Raises:
            CompressError: absent, not JSON, of another version, a value missing or wrong.
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CompressError(f"there is no device table {path}. {_how_to_make()}") from None
        except (OSError, ValueError, RecursionError) as fault:
            raise CompressError(
                f"{path} is no device table: {fault}. Copy it from the device again, or make one: "
                f"{_how_to_make()}"
            ) from fault
        if not isinstance(raw, dict) or "schema_version" not in raw or "overhead_ns" not in raw:
            raise CompressError(
                f"{path} is no device table, which holds schema_version, blocks and overhead_ns. "
                f"{_how_to_make()}"
            )
        if raw["schema_version"] != SCHEMA_VERSION:
            raise CompressError(
                f"{path} has schema_version {str(raw['schema_version'])[:40]}, and {SCHEMA_VERSION}"
                f" is what this version reads. {_how_to_make()}"
            )
        try:
            return TypeAdapter(cls).validate_python(raw)
        except ValidationError as fault:
            first = fault.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise CompressError(
                f"{path}: {place} of the device table is not valid: {first['msg']}, got "
                f"{str(first['input'])[:60]}. It was damaged or edited. {_how_to_make()}"
            ) from fault

    def check(self, space: AnySpace) -> None:
        """Make sure that the table is of this space as it is defined now, and whole.

        Raises:
            CompressError: of another space, of another definition, or a block is missing.
        """
        if self.space != space.name:
            raise CompressError(
                f"the device table was measured for space {self.space!r}, and the search is in "
                f"{space.name!r}. {_how_to_make(space.name)}"
            )
        if self.definition != definition(space):
            raise CompressError(
                f"space {space.name!r} is defined as {definition(space)} here and was "
                f"{self.definition[:40]} where the device table's blocks were made: their sizes "
                f"differ. {_how_to_make(space.name)}"
            )
        missing = [key for key in space_blocks(space) if key not in self.blocks]
        if missing:
            raise CompressError(
                f"the device table lacks {len(missing)} of the blocks of space {space.name!r}, "
                f"such as {missing[0]!r}. {_how_to_make(space.name)}"
            )

    def rest(self, full: Wav2Vec2Config, dense: Wav2Vec2Config) -> int:
        """All but the transformer's layers: extractor, projection, positions and overhead.

        Raises:
            CompressError: a block that was not measured.
        """
        channels = (conv.channels for conv in dense.conv_layers)
        keys = _fixed_blocks(dense.embed_dim, channels)
        return self.overhead_ns + sum(self._block_ns(key) for key in keys)

    def layer(self, dense: Wav2Vec2Config, heads: int, ffn: int) -> int:
        """One transformer layer: attention and feed-forward with their norms.

        Raises:
            CompressError: a block that was not measured.
        """
        keys = _layer_blocks(dense.embed_dim, heads, ffn)
        return sum(self._block_ns(key) for key in keys)

    def _block_ns(self, key: str) -> int:
        """A block's own time: of a quick one, noise could leave less than nothing."""
        if key not in self.blocks:
            raise CompressError(
                f"the device table for space {self.space!r} has no block {key!r}: the sizes are "
                f"not among the space's choices. {_how_to_make(self.space)}"
            )
        return max(0, self.blocks[key].median_ns - self.overhead_ns)


def blocks_of(config: Wav2Vec2Config) -> list[str]:
    """Keys of the blocks that a dense encoder runs, in order; a block that recurs is repeated."""
    channels = tuple(conv.channels for conv in config.conv_layers)
    layers = zip(config.num_heads, config.ffn_dim, strict=True)
    return [
        *_fixed_blocks(config.embed_dim, channels),
        *(
            key
            for heads, ffn in layers
            for key in _layer_blocks(config.embed_dim, heads, ffn)
        ),
    ]  # fmt: skip


def space_blocks(space: AnySpace) -> list[str]:
    """Keys of the distinct blocks that encoders of a space are made of; whole keyword models."""
    if isinstance(space, KeywordSpace):
        return list(timed_models(space))
    channels = conv_choices(space)
    keys = ["input"]
    for index, choices in enumerate(channels):
        before = channels[index - 1] if index else (1,)
        keys += [f"conv.{index}.{inputs}.{width}" for inputs in before for width in choices]
    for embed_dim in space.embed_dim:
        keys += [f"projection.{width}.{embed_dim}" for width in channels[-1]]
        keys.append(f"positions.{embed_dim}")
        keys += [f"attention.{embed_dim}.{heads}" for heads in space.num_heads]
        keys += [f"ffn.{embed_dim}.{ffn}" for ffn in space.ffn_dims(embed_dim)]
    return keys


def conv_choices(space: Space) -> tuple[tuple[int, ...], ...]:
    """Channels that each layer of the feature extractor may have, the first layer first."""
    return space.conv_channels or tuple((conv.channels,) for conv in space.supernet.conv_layers)


def definition(space: AnySpace) -> str:
    """Digest of everything that a space is made of; another one has other blocks.

    How many labels a keyword model has says its supernet, not its space.
    """
    made_of = {key: value for key, value in asdict(space).items() if key != "num_labels"}
    text = json.dumps(made_of, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fixed_blocks(embed_dim: int, conv_channels: Iterable[int]) -> list[str]:
    keys, before = ["input"], 1
    for index, channels in enumerate(conv_channels):
        keys.append(f"conv.{index}.{before}.{channels}")
        before = channels
    return [*keys, f"projection.{before}.{embed_dim}", f"positions.{embed_dim}"]


def _layer_blocks(embed_dim: int, heads: int, ffn: int) -> list[str]:
    return [f"attention.{embed_dim}.{heads}", f"ffn.{embed_dim}.{ffn}"]


def _how_to_make(space: str = "SPACE") -> str:
    return (
        f"Make a table: compress blocks {space} --out blocks.zip; then on the device "
        "python -m runtime bench --blocks blocks.zip --out table.json"
    )
