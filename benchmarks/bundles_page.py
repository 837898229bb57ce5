"""The page of benchmarks/bundles.py, from its rows."""

import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.atomic import replacing_file

Rows = Mapping[str, Mapping[str, Any]]
FLOAT, INT8 = "float32", ("int8-dynamic", "int8-static")
FILES = ("model.onnx", "model.tflite")
GATE_DB, GATE_POINTS = 20.0, 0.5


def write_page(rows: Rows, names: Mapping[str, str], seeds: Sequence[int], results: Path) -> str:
    """Write docs/results/export.md; returns it.

    Args:
        rows: of every task.
        names: folder of a family to what it is called.
        seeds: that it was trained with.
        results: folder of the page.
    """
    versions = sorted({graph["engine"] for row in scored(rows) for graph in row[FLOAT]["graphs"]})
    page = PROSE.format(
        machine=platform.machine(),
        engines=", ".join(versions),
        accuracy="\n".join(accuracy_row(rows, place, name, seeds) for place, name in names.items()),
        drops="\n".join(
            drop_row(rows, place, name, precision, file, seeds)
            for place, name in names.items()
            for precision in INT8
            for file in FILES
        ),
        sizes="\n".join(size_row(rows, place, name, seeds) for place, name in names.items()),
        times="\n".join(time_row(rows, place, name) for place, name in names.items()),
    )
    with replacing_file(results / "export.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return page


def scored(rows: Rows) -> Iterator[Mapping[str, Any]]:
    return (row for name, row in rows.items() if name.endswith("/scored"))


def graph_of(row: Mapping[str, Any], precision: str, file: str) -> Mapping[str, Any]:
    return next(graph for graph in row[precision]["graphs"] if graph["file"] == file)


def accuracy_of(row: Mapping[str, Any], precision: str, file: str) -> float:
    """Percent of the test clips."""
    answers = np.array(graph_of(row, precision, file)["answers"])
    return 100.0 * float((answers == np.array(row["wanted"])).mean())


def figure(row: Mapping[str, Any], precision: str, file: str, key: str) -> float:
    """What the export measured of a graph; of the second one it tells apart."""
    measured = row[precision]["measured"]
    further = measured.get("further_graphs", {})
    return float((further[file] if file in further else measured)[key])


def accuracy_row(rows: Rows, place: str, name: str, seeds: Sequence[int]) -> str:
    found = [rows[f"{place}/seed{seed}/scored"] for seed in seeds]
    params = found[0][FLOAT]["measured"]["num_params"]
    accuracies = [accuracy_of(row, FLOAT, FILES[0]) for row in found]
    worst = [
        max(figure(row, FLOAT, file, "largest_difference_from_torch") for row in found)
        for file in FILES
    ]
    streams = max(
        cell["largest_difference"]
        for row in found
        for cell in row[FLOAT]["measured"]["verified"]
        if cell["form"] != "offline"
    )
    form = next(
        cell["form"]
        for cell in found[0][FLOAT]["measured"]["verified"]
        if cell["form"] != "offline"
    )
    clips = len(found[0]["wanted"])
    cells = (name, form.replace("_", " "), f"{params:,}", f"{clips:,}", spread(accuracies))
    return line(*cells, *(f"{value:.0e}" for value in (*worst, streams)))


def drop_row(
    rows: Rows, place: str, name: str, precision: str, file: str, seeds: Sequence[int]
) -> str:
    found = [rows[f"{place}/seed{seed}/scored"] for seed in seeds]
    drops = [accuracy_of(row, FLOAT, file) - accuracy_of(row, precision, file) for row in found]
    same = [
        100.0
        * float(
            np.mean(
                np.array(graph_of(row, precision, file)["answers"])
                == np.array(graph_of(row, FLOAT, file)["answers"])
            )
        )
        for row in found
    ]
    snr = [figure(row, precision, file, "snr_db") for row in found]
    within = "yes" if statistics.mean(drops) <= GATE_POINTS else "**no**"
    gate = sum(value >= GATE_DB for value in snr)
    return line(
        name,
        precision,
        file.removeprefix("model."),
        spread(drops, signed=True, digits=2),
        within,
        f"{statistics.mean(same):.1f}",
        f"{min(snr):.1f} to {max(snr):.1f}",
        f"{gate} of {len(snr)}",
    )


def size_row(rows: Rows, place: str, name: str, seeds: Sequence[int]) -> str:
    row = rows[f"{place}/seed{seeds[0]}/scored"]
    return line(
        name,
        *(
            f"{graph_of(row, precision, file)['size_bytes'] / 1000:,.0f}"
            for file in FILES
            for precision in (FLOAT, *INT8)
        ),
    )


def time_row(rows: Rows, place: str, name: str) -> str:
    times = rows["timed"][place]
    return line(
        name,
        *(f"{times[f'{precision}/{file}']:.2f}" for file in FILES for precision in (FLOAT, *INT8)),
    )


def spread(values: Sequence[float], *, digits: int = 1, signed: bool = False) -> str:
    """Mean ± deviation (each)."""
    plus = "+" if signed else ""
    each = ", ".join(f"{value:{plus}.{digits}f}" for value in values)
    mean = statistics.mean(values)
    return f"{mean:{plus}.{digits}f} ± {statistics.stdev(values):.{digits}f} ({each})"


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


PROSE = """\
# What does leaving the lab cost?

"""
