"""Building blocks of a search space, as the lab sends them to be timed: blocks.json and graphs.

`export` writes such a zip with `BlocksFile.to_json`, the device reads it with `read_blocks`. Each
graph takes one float32 tensor and gives one.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .archive import read_zip
from .digest import sha256
from .faults import BundleFault, short
from .manifest_reader import read_object, take

BLOCKS_FILE = "blocks.json"
SCHEMA_VERSION = 1
"""Of blocks.json and of the table that is measured with it."""
MAX_BLOCKS_BYTES = 64 << 20
"""Most unpacked bytes: graphs come without weights, so a few hundred kB are usual."""
_MAX_ELEMENTS = 1 << 26
_MAKE_AGAIN = "Make it again: compress blocks SPACE --out blocks.zip."
_KEY = re.compile(r"[a-z]+(\.[0-9]{1,9}){0,4}")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One graph to time."""

    file: str
    """Name of its file; the ending says which engine runs it."""
    sha256: str
    """Of the file's bytes, in hex."""
    input: str
    """Name of its input."""
    shape: tuple[int, ...]
    """Of the input, float32."""


@dataclass(frozen=True, kw_only=True)
class BlocksFile:
    """The whole of blocks.json."""

    space: str
    """Name of the search space whose blocks these are."""
    definition: str
    """Digest of the space's definition: other sizes under the same name are another space."""
    window_samples: int
    """Length of the waveform that the blocks' shapes follow from."""
    overhead: Block
    """Does nothing: what running any graph costs."""
    blocks: Mapping[str, Block]
    """By key, such as `attention.384.6`."""

    def to_json(self) -> str:
        """Text of blocks.json."""
        rest = dataclasses.asdict(self)
        return json.dumps({"schema_version": SCHEMA_VERSION, **rest}, indent=1) + "\n"


@dataclass(frozen=True, kw_only=True)
class BlockSet:
    """A zip of blocks whose every byte fits its digest."""

    contents: BlocksFile
    files: Mapping[str, bytes]


def read_blocks(path: str | Path) -> BlockSet:
    """Read and verify a zip of building blocks; nothing is extracted.

    Raises:
        BundleFault: absent, no such zip, of another version, over 64 MiB, or damaged.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise BundleFault(f"there is no such file. {_MAKE_AGAIN}")
        files = read_zip(path, what="a file of building blocks", max_bytes=MAX_BLOCKS_BYTES)
        if BLOCKS_FILE not in files:
            raise BundleFault(f"holds no {BLOCKS_FILE}: no file of blocks. {_MAKE_AGAIN}")
        contents = _contents(files.pop(BLOCKS_FILE))
        _verify(contents, files)
    except BundleFault as fault:
        raise BundleFault(f"{path}: {fault}") from fault
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise BundleFault(f"{path}: cannot be read: {error}") from error
    return BlockSet(contents=contents, files=files)


def _contents(data: bytes) -> BlocksFile:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleFault(f"{BLOCKS_FILE} is not UTF-8 text: {error}. {_MAKE_AGAIN}") from error
    raw = read_object(text, BLOCKS_FILE, _MAKE_AGAIN)
    version = _take(raw, "schema_version", "an integer")
    if version != SCHEMA_VERSION:
        raise BundleFault(
            f"{BLOCKS_FILE}: schema_version {short(version)} is not readable here, only "
            f"{SCHEMA_VERSION}. Make blocks and table with the same version of this project."
        )
    blocks = _take(raw, "blocks", "an object")
    for key in blocks:
        if _KEY.fullmatch(key) is None:
            raise BundleFault(f"{BLOCKS_FILE}: {short(key)} is no key such as 'attention.384.6'")
    if not blocks:
        raise BundleFault(f"{BLOCKS_FILE}: blocks is empty. {_MAKE_AGAIN}")
    return BlocksFile(
        space=_printable(raw, "space"),
        definition=_printable(raw, "definition"),
        window_samples=_positive(raw, "window_samples"),
        overhead=_block(raw, "overhead", ""),
        blocks={key: _block(blocks, key, "blocks.") for key in blocks},
    )


def _block(raw: Mapping[str, Any], key: str, where: str) -> Block:
    block, where = _take(raw, key, "an object", where), f"{where}{key}."
    shape = _take(block, "shape", "a list", where)
    sizes_fit = all(type(size) is int and 1 <= size <= _MAX_ELEMENTS for size in shape)
    if not 1 <= len(shape) <= 4 or not sizes_fit or math.prod(shape) > _MAX_ELEMENTS:
        raise BundleFault(
            f"{BLOCKS_FILE}: {where}shape must hold 1 to 4 sizes of 1 or more and at most "
            f"{_MAX_ELEMENTS:,} numbers in all, got {short(shape)}"
        )
    return Block(
        file=_printable(block, "file", where),
        sha256=_printable(block, "sha256", where),
        input=_printable(block, "input", where),
        shape=tuple(shape),
    )


def _verify(contents: BlocksFile, files: Mapping[str, bytes]) -> None:
    listed = (contents.overhead, *contents.blocks.values())
    for block in listed:
        if block.file not in files:
            raise BundleFault(f"lacks {block.file!r}, which {BLOCKS_FILE} lists. Copy it whole.")
        if sha256(files[block.file]).hexdigest() != block.sha256:
            raise BundleFault(
                f"{block.file!r} was changed or damaged: its sha256 is not the one that "
                f"{BLOCKS_FILE} lists. Copy the file again."
            )
    unlisted = sorted(set(files) - {block.file for block in listed})
    if unlisted:
        raise BundleFault(f"holds {unlisted[0]!r}, which {BLOCKS_FILE} does not list. Remove it.")


def _take(raw: Mapping[str, Any], key: str, kind: str, where: str = "") -> Any:
    return take(raw, key, kind, where, file_name=BLOCKS_FILE)


def _printable(raw: Mapping[str, Any], key: str, where: str = "") -> str:
    value: str = _take(raw, key, "a string", where)
    if not value.isprintable() or not 1 <= len(value) <= 200:
        raise BundleFault(
            f"{BLOCKS_FILE}: {where}{key} must be 1 to 200 printable characters, got {short(value)}"
        )
    return value


def _positive(raw: Mapping[str, Any], key: str) -> int:
    value: int = _take(raw, key, "an integer")
    if value < 1:
        raise BundleFault(f"{BLOCKS_FILE}: {key} must be 1 or more, got {short(value)}")
    return value
