"""The page of benchmarks/bundles.py, from its rows."""

import platform
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tables import line, spread

from runtime.atomic import replacing_file

Rows = Mapping[str, Mapping[str, Any]]
FLOAT, INT8 = "float32", ("int8-dynamic", "int8-static")
FILES = ("model.onnx", "model.tflite")
GATE_POINTS = 0.5


def write_page(rows: Rows, names: Mapping[str, str], results: Path) -> str:
    """Write docs/results/export.md; returns it.

    Args:
        rows: of every task.
        names: folder of a family to what it is called.
        results: folder of the page.
    """
    versions = sorted({graph["engine"] for row in scored(rows) for graph in row[FLOAT]["graphs"]})
    page = PROSE.format(
        machine=platform.machine(),
        engines=", ".join(versions),
        accuracy="\n".join(accuracy_row(rows, place, name) for place, name in names.items()),
        drops="\n".join(
            drop_row(rows, place, name, precision, file)
            for place, name in names.items()
            for precision in INT8
            for file in FILES
        ),
        kept="\n".join(kept_lines(rows, names)),
        sizes="\n".join(size_row(rows, place, name) for place, name in names.items()),
        times="\n".join(time_row(rows, place, name) for place, name in names.items()),
    )
    with replacing_file(results / "export.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return page


def scored(rows: Rows, place: str = "") -> list[Mapping[str, Any]]:
    """Rows of a family's folder, a seed each in order; of all families without one."""
    return [rows[n] for n in sorted(rows) if n.startswith(place) and n.endswith("/scored")]


def graph_of(row: Mapping[str, Any], precision: str, file: str) -> Mapping[str, Any]:
    return next(graph for graph in row[precision]["graphs"] if graph["file"] == file)


def accuracy_of(row: Mapping[str, Any], precision: str, file: str) -> float:
    """Percent of the test clips."""
    answers = np.array(graph_of(row, precision, file)["answers"])
    return 100.0 * float((answers == np.array(row["wanted"])).mean())


def written(rows: Rows, place: str, precision: str) -> list[Mapping[str, Any]]:
    """Rows of the seeds whose bundle the gate let through."""
    return [row for row in scored(rows, f"{place}/") if "refused" not in row[precision]]


def figure(row: Mapping[str, Any], precision: str, file: str, key: str) -> float:
    return float(figures_of(row, precision, file)[key])


def figures_of(row: Mapping[str, Any], precision: str, file: str) -> Mapping[str, Any]:
    """What the export measured of a graph; of the second one it tells apart."""
    measured: Mapping[str, Any] = row[precision]["measured"]
    further = measured.get("further_graphs", {})
    found: Mapping[str, Any] = further.get(file, measured)
    return found


def kept_of(row: Mapping[str, Any], precision: str, file: str) -> list[str]:
    """Layers that the gate left in float."""
    return list(figures_of(row, precision, file)["layers_kept_float"])


def accuracy_row(rows: Rows, place: str, name: str) -> str:
    found = scored(rows, f"{place}/")
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


def drop_row(rows: Rows, place: str, name: str, precision: str, file: str) -> str:
    found = written(rows, place, precision)
    what = (name, precision, file.removeprefix("model."))
    if not found:
        return line(*what, "refused", "–", "–", "–", "–")
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
    kept = [len(kept_of(row, precision, file)) for row in found]
    refused = len(scored(rows, f"{place}/")) - len(found)
    return line(
        *what,
        spread(drops, signed=True, digits=2),
        within,
        f"{statistics.mean(same):.1f}",
        f"{min(snr):.1f} to {max(snr):.1f}",
        ", ".join(map(str, kept)) + (f"; {refused} refused" if refused else ""),
    )


def kept_lines(rows: Rows, names: Mapping[str, str]) -> Iterator[str]:
    """A line for each graph with layers in float: which, and in how many seeds."""
    for place, name in names.items():
        for precision in INT8:
            for file in FILES:
                counts = Counter(
                    layer
                    for row in written(rows, place, precision)
                    for layer in kept_of(row, precision, file)
                )
                if counts:
                    told = ", ".join(
                        f"`{layer}` ({count})" for layer, count in counts.most_common()
                    )
                    yield f"- {name}, {precision}, {file.removeprefix('model.')}: {told}"


def size_row(rows: Rows, place: str, name: str) -> str:
    cells = []
    for file in FILES:
        for precision in (FLOAT, *INT8):
            found = written(rows, place, precision)
            sizes = [graph_of(row, precision, file)["size_bytes"] / 1000 for row in found]
            cells.append(f"{statistics.median(sizes):,.0f}" if sizes else "–")
    return line(name, *cells)


def time_row(rows: Rows, place: str, name: str) -> str:
    times = rows["timed"][place]
    return line(
        name,
        *(
            f"{times[key]:.2f}" if (key := f"{precision}/{file}") in times else "–"
            for file in FILES
            for precision in (FLOAT, *INT8)
        ),
    )


PROSE = """\
# What does leaving the lab cost?

Made by `make bundles` (`benchmarks/bundles.py`). Data: `speech_commands` (Google Speech Commands
excerpts, CC BY 4.0), 12 classes, our speaker-disjoint split. Each family is trained with seeds 0,
1 and 2 by its recipe, shortened to minutes, and exported as ONNX and TFLite in float32,
`int8-dynamic` and `int8-static`; ranges come from 128 train clips. Every graph then hears the
test clips through `runtime`, one by one, on its engine ({engines}). Machine: {machine}, no GPU.
Cells hold mean ± deviation over seeds (each seed).

**Not comparable with published figures**: minutes of training, an excerpt of the data, another
split. The a_small subnet (26.9 M parameters, random weights, 12 updates, one seed) has learned
nothing: its accuracy means nothing, and it is here for its size, its parity, the ratio of its
logits and how often 8 bits decide as float does.

## In float: is the bundle what was trained?

Largest difference of a posterior from torch, of any seed: each graph over recordings of odd
lengths, and streams of both in odd blocks. 1e-5 is the bound that an export keeps.

| family | form | parameters | test clips | accuracy, % | ONNX | TFLite | streams |
|---|---|---|---|---|---|---|---|
{accuracy}

## In 8 bits: what is lost?

Exported with `--keep-float auto`: all layers after the front end in 8 bits where that keeps the
gate's limits on the valid clips (logits 20 dB above the error, 0.5 points of accuracy lost), and
else without as few of the worst as it takes (a_small: without the feature extractor, and no
limits). Accuracy in float minus accuracy in 8 bits on the test clips, which the gate has not seen,
in points (the aim: 0.5 at most); clips that get the same label as in float; signal-to-noise ratio
of the logits on the gate's clips, lowest and highest seed; layers left in float by each seed. Where
one clip in n changes its label, the difference of one seed has a standard error of about
100 / sqrt(n * clips) points: 0.8 at 94 % the same label, 0.3 at 99 %.

| family | precision | format | lost, points | within 0.5 | same label, % | SNR, dB | in float |
|---|---|---|---|---|---|---|---|
{drops}

Layers left in float (in how many seeds):

{kept}

## Sizes

kB of a graph, the median of the seeds. The front end stays in float, and names and shapes take the
same in every precision: the smallest models shrink least.

| family | ONNX float32 | dynamic | static | TFLite float32 | dynamic | static |
|---|---|---|---|---|---|---|
{sizes}

## Times

Median milliseconds of a stream for a hop of 80 ms, one thread, a family's graphs in turns (seed
0). Sliding windows compute a window of 1 s in it, the incremental form 80 ms.

| family | ONNX float32 | dynamic | static | TFLite float32 | dynamic | static |
|---|---|---|---|---|---|---|
{times}

What the incremental form saves on one and the same model is what `python benchmarks/forms.py`
tells, in [decision 26](../decisions/0026-the-spectrum-in-two-stages.md): 13.6 times fewer
multiply-accumulates, 3.3 times less processor time in ONNX Runtime and 4.5 times less in LiteRT.
The aim was 10 times less time.
"""
