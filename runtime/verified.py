"""Rows of the table that an export proves itself by, and that `doctor` shows and adds to."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

TABLE = "verified"
"""Its key in the manifest's `measured`; bundles older than the table have none."""
TOLERANCE = 1e-5
"""Largest difference of a posterior in float32, whose kernels may sum in another order; and of a
stream's answers from the same graph's offline ones, in any precision."""
OFFLINE = "offline"
"""Form of a cell that runs the graph without a stream."""
_MAX_TEXT = 200


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way to run a bundle, and how far its answers lay from what they must be."""

    file: str
    """The graph's, such as model.onnx."""
    engine: str
    """Backend and version, such as "onnxruntime 1.32.0"."""
    precision: str
    """How weights are stored, such as "int8-static"."""
    form: str
    """`OFFLINE` or a streaming form."""
    chunk_samples: str
    """Samples pushed at a time, as "1600" or "0 to 3201"; offline, the recording's length."""
    against: str
    """Whose answers they must be: the torch module's, the same graph's offline, the golden's."""
    largest_difference: float
    """Of a posterior; infinite for an answer that is no number, missing or one too many."""
    tolerance: float
    """Most that it may be."""
    snr_db: float | None = None
    """In 8 bits, offline: the signal-to-noise ratio that the export's gate found."""

    @property
    def passed(self) -> bool:
        """NaN passes nothing."""
        return self.largest_difference <= self.tolerance

    @property
    def place(self) -> str:
        """Which cell it is, for a message."""
        how = f"on {self.chunk_samples} samples"
        if self.form != OFFLINE:
            how = f"in blocks of {self.chunk_samples} samples"
        return f"{self.file} on {self.engine}, {self.precision}, {self.form} {how}"

    def to_dict(self) -> dict[str, str | float]:
        """A row of JSON; what is None is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def read_table(measured: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The rows that a bundle brings.

    `measured` is free JSON and the runtime runs without the table, so what is no table of ours is
    no fault: there are no rows then.

    Args:
        measured: the manifest's.

    Returns:
        its rows; none where it has no table, or one that this runtime cannot read.
    """
    rows = measured.get(TABLE)
    if not isinstance(rows, list):
        return ()
    cells = [_cell(row) for row in rows]
    return tuple(cell for cell in cells if cell is not None) if None not in cells else ()


def table_lines(cells: Iterable[Cell]) -> list[str]:
    """The rows under one head, aligned; numbers stand to the right."""
    head = ("graph", "engine", "precision", "form", "samples", "against")
    rows = [(*head, "difference", "at most", "SNR dB")]
    for cell in cells:
        what = (cell.file, cell.engine, cell.precision)
        how = (cell.form, cell.chunk_samples, cell.against)
        snr = "" if cell.snr_db is None else f"{cell.snr_db:.1f}"
        rows.append((*what, *how, f"{cell.largest_difference:.1e}", f"{cell.tolerance:.1e}", snr))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if number < len(head) else text.rjust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cell(row: object) -> Cell | None:
    """None for what is no row; a later version's further keys are passed over."""
    if not isinstance(row, dict):
        return None
    texts = ("file", "engine", "precision", "form", "chunk_samples", "against")
    numbers = ["largest_difference", "tolerance", *(["snr_db"] if "snr_db" in row else [])]
    values = {key: row.get(key) for key in (*texts, *numbers)}
    ok = all(_is_line(values[key]) for key in texts) and all(
        _is_number(values[key]) for key in numbers
    )
    return Cell(**values) if ok else None  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    """JSON's integers have no end, and a float has."""
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


def _is_line(text: object) -> bool:
    """Shown on a terminal as it is, so it holds no control characters."""
    return isinstance(text, str) and text.isprintable() and 0 < len(text) <= _MAX_TEXT
