"""What a .tflite file holds, read with every offset checked before an engine follows it.

tflite-runtime follows a damaged file's offsets out of it, which ends the process; LiteRT checks
the offsets and not all of the numbers that they lead to. A table of this format is a distance
back to a list of its fields' places, and a field a number, or a distance on to something else.
"""

import struct
from dataclasses import dataclass
from typing import Any

from ..faults import BundleFault

_MAGIC = b"TFL3"
_MAX_TABLES = 1_000_000
"""Most tables to look at: a file may have many distances lead to one place."""
_VECTOR_SIZES = {"bytes": 1, "i32s": 4, "f32s": 4, "i64s": 8}
_SCALARS = {"i8": "<b", "u8": "<B", "u32": "<I", "i32": "<i", "u64": "<Q"}
# Fields by their numbers in TFLite's schema, version 3; those that are not named here are plain
# numbers that an engine reads within the table, or parts that our exporter never writes.
_TABLES: dict[str, dict[int, tuple[str, str]]] = {
    "Model": {
        1: ("operator_codes", "[OperatorCode]"),
        2: ("subgraphs", "[SubGraph]"),
        3: ("description", "text"),
        4: ("buffers", "[Buffer]"),
        5: ("metadata_buffer", "i32s"),
        6: ("metadata", "[Metadata]"),
        7: ("signatures", "[Signature]"),
    },
    "OperatorCode": {0: ("old_code", "i8"), 1: ("custom", "text"), 3: ("code", "i32")},
    "SubGraph": {
        0: ("tensors", "[Tensor]"),
        1: ("inputs", "i32s"),
        2: ("outputs", "i32s"),
        3: ("operators", "[Operator]"),
        4: ("name", "text"),
    },
    "Tensor": {
        0: ("shape", "i32s"),
        1: ("type", "i8"),
        2: ("buffer", "u32"),
        3: ("name", "text"),
        4: ("quantization", "Quantization"),
        6: ("sparsity", "none"),
        7: ("open_shape", "i32s"),
        9: ("variants", "none"),
    },
    "Quantization": {
        0: ("least", "f32s"),
        1: ("largest", "f32s"),
        2: ("scale", "f32s"),
        3: ("zero_point", "i64s"),
        5: ("details", "none"),
    },
    "Operator": {
        0: ("code", "u32"),
        1: ("inputs", "i32s"),
        2: ("outputs", "i32s"),
        3: ("options_kind", "u8"),
        4: ("options", "options"),
        5: ("custom_options", "bytes"),
        7: ("mutated", "bytes"),
        8: ("intermediates", "i32s"),
        12: ("options_2", "table"),
    },
    "Buffer": {0: ("data", "bytes"), 1: ("offset", "u64"), 2: ("size", "u64")},
    "Metadata": {0: ("name", "text"), 1: ("buffer", "u32")},
    "Signature": {
        0: ("inputs", "[Entry]"),
        1: ("outputs", "[Entry]"),
        2: ("name", "text"),
        4: ("subgraph", "u32"),
    },
    "Entry": {0: ("name", "text"), 1: ("tensor", "u32")},
}
_OPTIONS_WITH_SIZES = {17, 30}
"""Options of Reshape and Squeeze: their first field is a vector, all others' are numbers."""
_CUSTOM = 32


@dataclass(frozen=True)
class Signature:
    """One way to call the file: its name, and tensors by name as numbers within its graph."""

    name: str
    graph: int


def check(model: bytes) -> tuple[Signature, ...]:
    """Refuse what an engine could stumble over.

    Returns:
        the file's signatures, in its order.

    Raises:
        BundleFault: not a .tflite file, cut off or damaged, or it asks for operators that are
            not TFLite's own.
    """
    if model[4:8] != _MAGIC:
        raise BundleFault(
            f"the model is not a .tflite file: it must hold {_MAGIC.decode()!r} at byte 4, and "
            f"holds {bytes(model[4:8])!r}. Copy or export the bundle again."
        )
    try:
        root = _Reader(model).root()
        _check_numbers(root)
    except struct.error as error:
        raise _damaged("an offset leads beyond its end") from error
    except (_DamageError, UnicodeDecodeError) as error:
        raise _damaged(str(error)) from error
    custom = sorted(
        code["custom"] or "one without a name"
        for code in root["operator_codes"]
        if _builtin(code) == _CUSTOM
    )
    if custom:
        raise BundleFault(
            f"the model asks for operators that are not TFLite's own: {', '.join(custom)[:200]!r}. "
            "No engine here has them; export again without."
        )
    return tuple(Signature(item["name"], item["subgraph"]) for item in root["signatures"])


def _damaged(what: str) -> BundleFault:
    return BundleFault(f"the .tflite model is damaged: {what}. Copy or export the bundle again.")


class _DamageError(Exception):
    pass


class _Reader:
    """Tables as dicts of their fields; an absent one is "", 0 or an empty list."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _MAX_TABLES

    def root(self) -> dict[str, Any]:
        return self._table(self._on(0), "Model")

    def _at(self, kind: str, place: int) -> int:
        if place < 0:
            raise _DamageError(f"an offset leads to byte {place}")
        value: int = struct.unpack_from(kind, self._data, place)[0]
        return value

    def _on(self, place: int) -> int:
        return place + self._at("<I", place)

    def _fields(self, place: int) -> tuple[int, ...]:
        """Places of a table's fields, 0 for absent ones, after checking that they lie within it."""
        self._left -= 1
        if self._left < 0:
            raise _DamageError(f"it has over {_MAX_TABLES:,} tables")
        listed = place - self._at("<i", place)
        list_bytes, table_bytes = self._at("<H", listed), self._at("<H", listed + 2)
        if list_bytes < 4 or list_bytes % 2 or place + table_bytes > len(self._data):
            raise _DamageError(f"the table at byte {place} does not fit the file")
        offsets = struct.unpack_from(f"<{list_bytes // 2 - 2}H", self._data, listed + 4)
        if any(offset and not 4 <= offset < table_bytes for offset in offsets):
            raise _DamageError(f"the table at byte {place} has fields outside of it")
        return tuple(place + offset if offset else 0 for offset in offsets)

    def _table(self, place: int, kind: str) -> dict[str, Any]:
        fields = self._fields(place)
        values: dict[str, Any] = {}
        for number, (name, sort) in _TABLES[kind].items():
            there = fields[number] if number < len(fields) else 0
            values[name] = self._value(there, sort, values)
        return values

    def _value(self, place: int, sort: str, table: dict[str, Any]) -> Any:
        if sort in _SCALARS:
            return self._at(_SCALARS[sort], place) if place else 0
        if not place:
            return "" if sort == "text" else [] if sort[-1] in "s]" else None
        if sort == "none":
            raise _DamageError("it holds sparse or variant tensors, which Otolite does not write")
        there = self._on(place)
        if sort in ("table", "options"):
            fields = self._fields(there)
            sizes = fields[0] if sort == "options" and fields else 0
            if sizes and table["options_kind"] in _OPTIONS_WITH_SIZES:
                self._vector(self._on(sizes), 4)
            return None
        if sort == "text":
            return str(self._vector(there, 1), "utf-8")
        if sort in _VECTOR_SIZES:
            values = self._vector(there, _VECTOR_SIZES[sort])
            return values.cast("i").tolist() if sort == "i32s" else range(len(values))
        if sort in _TABLES:
            return self._table(there, sort)
        offsets = len(self._vector(there, 4)) // 4
        starts = range(there + 4, there + 4 + 4 * offsets, 4)
        return [self._table(self._on(start), sort[1:-1]) for start in starts]

    def _vector(self, place: int, size: int) -> memoryview:
        count = self._at("<I", place)
        end = place + 4 + count * size
        if end > len(self._data):
            raise _DamageError(f"a list of {count:,} at byte {place} goes beyond its end")
        return memoryview(self._data)[place + 4 : end]


def _check_numbers(root: dict[str, Any]) -> None:
    """Numbers of tensors, buffers, operators and graphs must be of some that are there."""
    buffers, codes, graphs = (
        len(root[name]) for name in ("buffers", "operator_codes", "subgraphs")
    )
    if not graphs:
        raise _DamageError("it holds no graph")
    for item in root["metadata"]:
        _below("metadata's buffer", item["buffer"], buffers)
    for graph in root["subgraphs"]:
        tensors = len(graph["tensors"])
        for number in (*graph["inputs"], *graph["outputs"]):
            _below("a graph's tensor", number, tensors)
        for tensor in graph["tensors"]:
            _below("a tensor's buffer", tensor["buffer"], buffers)
        for operator in graph["operators"]:
            _below("an operator's code", operator["code"], codes)
            for number in (*operator["inputs"], *operator["outputs"], *operator["intermediates"]):
                if number != -1:  # an input that is left out
                    _below("an operator's tensor", number, tensors)
    for signature in root["signatures"]:
        _below("a signature's graph", signature["subgraph"], graphs)
        tensors = len(root["subgraphs"][signature["subgraph"]]["tensors"])
        for entry in (*signature["inputs"], *signature["outputs"]):
            _below("a signature's tensor", entry["tensor"], tensors)


def _below(what: str, number: int, count: int) -> None:
    if not 0 <= number < count:
        raise _DamageError(f"{what} is number {number}, and there are {count}")


def _builtin(code: dict[str, Any]) -> int:
    """Newer files count in 32 bits, older ones in 8: the larger is meant."""
    number: int = max(code["old_code"], code["code"])
    return number
