"""A search as one page of HTML: every candidate, the winner's layers, what ruled out the rest."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from train.page import in_words, table, write_page

from . import CompressError
from .any_space import read_subnet
from .cost.layers import LayerCost
from .counts import short_count
from .pareto import pareto_front, steps
from .parts import parts_of
from .plots import STYLE, Mark, Scale, Spot, legend, scatter
from .search_file import Proposed, SearchFile
from .subnet import Subnet

_STYLE = f"""{STYLE}
th {{ font-weight: 600 }} th.number {{ text-align: right }} td.number {{ white-space: nowrap }}
td.bar {{ white-space: nowrap }}
td.bar div {{ background: #2b5fb8; height: .75em; margin-right: .4em; display: inline-block }}
summary {{ cursor: pointer }}
"""


@dataclass(frozen=True)
class _Cost:
    """How a cost is written."""

    axis: str
    """Under a plot, and where there is room."""
    short: str
    """After a number; empty where the number has its unit."""
    text: Callable[[float], str]


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.4g} MB"


_COSTS = {
    "params": _Cost("parameters", "params", lambda value: short_count(value, 4)),
    "macs": _Cost("MACs per second of audio", "MACs", lambda value: short_count(value, 4)),
    "latency_ns": _Cost(
        "latency of the device's window", "", lambda value: f"{value / 1e6:.4g} ms"
    ),
    "size_bytes": _Cost("file size", "", _megabytes),
}
_LEGEND: tuple[tuple[Mark, str], ...] = (
    ("candidate", "scored"),
    ("front", "on the Pareto front"),
    ("winner", "winner"),
    ("measured", "winner as exported"),
    ("largest", "largest of the space"),
    ("smallest", "smallest of the space"),
)


@dataclass(frozen=True)
class SearchReport:
    """What a page was made of."""

    candidates: int
    """All that the page tells of."""
    scored: int
    """Those with a score, each of which is drawn."""
    skipped: int
    """Entries that are no candidates and were left out."""


def write_search_report(search: Mapping[str, Any], page: Path) -> SearchReport:
    """Write a search's page; the search may still be going on.

    Args:
        search: what a search writes as `search.json`; a missing part is missing on the page.
        page: the HTML file; one that is there is replaced.

    Raises:
        CompressError: not of a search, or of a later version.
        OSError: the page cannot be written; an older one stays.
    """
    found = SearchFile.of(search)
    write_page(page, f"Search in {found.space}", _body(found), _STYLE)
    return SearchReport(len(found.candidates), len(found.scored), found.skipped)


def _body(search: SearchFile) -> Iterator[str]:
    yield table(_summary(search))
    if search.skipped:
        yield f'<p class="note">{search.skipped} damaged candidates were left out.</p>'
    yield "<h2>Score against cost</h2>"
    yield "<p>Lower is better in both directions. Point at a mark to read what it is.</p>"
    yield from _plots(search)
    if search.winner is not None:
        yield "<h2>The winner</h2>"
        yield from _winner(search)
    yield "<h2>What was ruled out</h2>"
    yield from _ruled_out(search)
    if search.scored:
        yield "<h2>Every scored candidate</h2>"
        yield from _candidates(search)
    yield "<h2>Provenance</h2>"
    yield table(_flat(search.provenance)) if search.provenance else "<p>None was recorded.</p>"


def _summary(search: SearchFile) -> Iterator[tuple[str, str]]:
    limits = [
        f"at most {_COSTS[cost].text(most)} {_COSTS[cost].short}".strip()
        for cost, most in search.budgets.items()
    ]
    yield "space", search.space
    yield "budget", ", ".join(limits) or "none"
    for key, value in search.asked.items():
        words = in_words(value).replace("_", " ")
        yield key.replace("_", " "), words.removeprefix("name ")
    numbers = [search.feasibility.get(key) for key in ("within", "subnets")]
    if all(isinstance(number, int) for number in numbers):
        yield "subnets within budget", "{:,} of {:,}".format(*numbers)
    yield "candidates", f"{len(search.candidates):,}, of which {len(search.scored):,} scored"
    if search.winner is None:
        yield "winner", "none yet"
    else:
        score = "" if search.winner.score is None else f" with score {search.winner.score:.5g}"
        number = "" if search.winner.number is None else f"no. {search.winner.number}"
        yield "winner", f"{number}{score}".strip() or "chosen"


def _plots(search: SearchFile) -> Iterator[str]:
    drawn = [_spots_against(search, key) for key in _COSTS]
    marks = {spot.mark for spots in drawn for spot in spots}
    yield legend([(mark, name) for mark, name in _LEGEND if mark in marks])
    yield '<div class="plots">'
    for key, spots in zip(_COSTS, drawn, strict=True):
        always = key in ("params", "macs")
        if always or (spots and (key == "latency_ns" or key in search.budgets)):
            yield f"<div>{_against(search, spots, key)}</div>"
    yield f"<div>{_over_time(search)}</div></div>"


def _spots_against(search: SearchFile, key: str) -> list[Spot]:
    """Every scored candidate over one cost that is known of it, and the winner as measured."""
    cost = _COSTS[key]
    known = [(candidate, score) for candidate, score in search.scored if key in candidate.costs]
    points = [(candidate.costs[key], score) for candidate, score in known]
    front = set(pareto_front(points))
    spots = [
        Spot(*point, _about(candidate), _mark(search, candidate, index in front))
        for index, (point, (candidate, _)) in enumerate(zip(points, known, strict=True))
    ]
    winner = search.winner
    if spots and winner is not None and winner.score is not None and key in winner.measured:
        about = f"winner as exported: {cost.text(winner.measured[key])} {cost.short}".strip()
        spots.append(Spot(winner.measured[key], winner.score, about, "measured"))
    return spots


def _against(search: SearchFile, spots: Sequence[Spot], key: str) -> str:
    """Score against one cost, with the Pareto front of what was predicted."""
    points = [(spot.x, spot.y) for spot in spots if spot.mark != "measured"]
    front = [points[index] for index in pareto_front(points)]
    return scatter(
        f"score against {_COSTS[key].axis}",
        spots,
        Scale(name=_COSTS[key].axis, text=_COSTS[key].text),
        line=steps(front, max((x for x, _ in points), default=0.0)),
        limit=search.budgets.get(key),
    )


def _over_time(search: SearchFile) -> str:
    """Score by candidate, and the best of those before."""
    spots: list[Spot] = []
    best: list[tuple[float, float]] = []
    for candidate, score in search.scored:
        better = not best or score < best[-1][1]
        if better:
            best.append((float(candidate.number), score))
        mark = _mark(search, candidate, better)
        spots.append(Spot(candidate.number, score, _about(candidate), mark))
    scale = Scale(name="candidate, with the best score so far", text=lambda value: f"{value:g}")
    end = max((spot.x for spot in spots), default=0.0)
    return scatter("score by candidate", spots, scale, line=steps(best, end))


def _mark(search: SearchFile, candidate: Proposed, front: bool) -> Mark:
    if search.winner is not None and search.winner.number == candidate.number:
        return "winner"
    if search.is_extreme(candidate, "largest"):
        return "largest"
    if search.is_extreme(candidate, "smallest"):
        return "smallest"
    return "front" if front else "candidate"


def _about(candidate: Proposed) -> str:
    """All of a candidate in a line."""
    score = "" if candidate.score is None else f"score {candidate.score:.5g}"
    costs = [
        f"{cost.text(candidate.costs[key])} {cost.short}".strip()
        for key, cost in _COSTS.items()
        if key in candidate.costs
    ]
    return " · ".join([f"no. {candidate.number}", score, *costs, _sizes(candidate.subnet)])


def _sizes(subnet: Any) -> str:
    """A subnet's choices; whatever else the file holds in its place, as JSON."""
    try:
        chosen = read_subnet(json.dumps(subnet))
    except CompressError:
        return json.dumps(subnet)[:200]
    values = json.loads(chosen.to_json())
    del values["space"]
    told = [f"depth {chosen.depth}"] if isinstance(chosen, Subnet) else []
    for key, value in values.items():
        words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        told.append(f"{key.replace('_', ' ')} {words}")
    return " · ".join(told)


def _winner(search: SearchFile) -> Iterator[str]:
    winner = search.winner
    assert winner is not None, "asked for where there is one"
    yield f"<p>{escape(_sizes(winner.subnet))}</p>"
    if winner.predicted or winner.measured:
        yield _predicted_and_measured(winner.predicted, winner.measured)
    if winner.fine_tuned:
        told = in_words({key.replace("_", " "): item for key, item in winner.fine_tuned.items()})
        yield f"<p>Fine-tuned: {escape(told)}.</p>"
    try:
        parts = parts_of(read_subnet(json.dumps(winner.subnet)))
    except CompressError as fault:
        yield f'<p class="note">Its layers cannot be told: {escape(str(fault))}</p>'
    else:
        yield _layers(parts)


def _predicted_and_measured(predicted: Mapping[str, float], measured: Mapping[str, float]) -> str:
    head = _row("th", ["", "predicted", "measured", "measured / predicted"])
    rows = []
    for key, cost in _COSTS.items():
        if key in predicted or key in measured:
            pair = [costs.get(key) for costs in (predicted, measured)]
            texts = ["" if value is None else cost.text(value) for value in pair]
            before, after = pair
            ratio = f"{after / before:.3f}" if before and after is not None else ""
            rows.append(_row("td", [cost.axis, *texts, ratio]))
    return f"<table>{head}{''.join(rows)}</table>"


_SPLIT = ("params", "macs")
"""Costs that a winner's layers are told by."""


def _layers(parts: Sequence[LayerCost]) -> str:
    """A row a layer, with bars for its shares of parameters and MACs."""
    params, macs = (sum(getattr(part, cost) for part in parts) for cost in _SPLIT)
    head = (
        '<tr><th>layer</th><th>sizes</th><th class="number">parameters</th><th>share</th>'
        '<th class="number">MACs</th><th>share</th></tr>'
    )
    most_params, most_macs = (max(getattr(part, cost) for part in parts) for cost in _SPLIT)
    rows = [
        f"<tr><td>{part.name}</td><td>{in_words(part.sizes).replace('_', ' ')}</td>"
        f'<td class="number">{part.params:,}</td>{_bar(part.params, most_params, params)}'
        f'<td class="number">{part.macs:,}</td>{_bar(part.macs, most_macs, macs)}</tr>'
        for part in parts
    ]
    total = (
        f'<tr><th>all</th><th></th><th class="number">{params:,}</th><th></th>'
        f'<th class="number">{macs:,}</th><th></th></tr>'
    )
    return f"<table>{head}{''.join(rows)}{total}</table>"


def _bar(part: int, most: int, total: int) -> str:
    """A cell with a part's share of `total`, drawn against the part that has the most."""
    return (
        f'<td class="bar"><div style="width:{6 * part / most:.2f}em"></div>{part / total:.1%}</td>'
    )


def _ruled_out(search: SearchFile) -> Iterator[str]:
    """How many met which end, and which limit ruled out the most."""
    counts: dict[str, int] = {}
    for candidate in search.candidates:
        counts[candidate.verdict] = counts.get(candidate.verdict, 0) + 1
    told = [f"{number:,} {verdict.replace('_', ' ')}" for verdict, number in counts.items()]
    yield f"<p>{len(search.candidates):,} proposed: {escape(', '.join(told) or 'none')}.</p>"
    over = [candidate for candidate in search.candidates if candidate.verdict == "over_budget"]
    by_limit = {
        cost: sum(cost in search.exceeded(candidate) for candidate in over)
        for cost in search.budgets
    }
    if any(by_limit.values()):
        most = max(by_limit, key=lambda cost: by_limit[cost])
        yield f"<p>The limit that ruled out the most: {_COSTS[most].axis}.</p>"
        head = _row("th", ["limit", "at most", "ruled out"])
        rows = [
            _row("td", [_COSTS[cost].axis, _COSTS[cost].text(search.budgets[cost]), f"{number:,}"])
            for cost, number in by_limit.items()
        ]
        yield f"<table>{head}{''.join(rows)}</table>"


def _candidates(search: SearchFile) -> Iterator[str]:
    """All with a score, the best first."""
    scored = sorted(search.scored, key=lambda pair: pair[1])
    costs = [key for key in _COSTS if any(key in candidate.costs for candidate, _ in scored)]
    yield f"<details><summary>{len(scored):,}, the best first</summary><table>"
    names = ["no.", "score", *(_COSTS[key].axis for key in costs), "sizes"]
    yield _row("th", names, last_words=True)
    for candidate, score in scored:
        told = [
            _COSTS[key].text(candidate.costs[key]) if key in candidate.costs else ""
            for key in costs
        ]
        cells = [f"{candidate.number}", f"{score:.5g}", *told, _sizes(candidate.subnet)]
        yield _row("td", cells, last_words=True)
    yield "</table></details>"


def _row(tag: str, cells: Sequence[str], *, last_words: bool = False) -> str:
    """A row of numbers after a first cell of words; with `last_words` the last is of words too."""
    last = len(cells) - last_words
    kinds = [' class="number"' if 0 < place < last else "" for place in range(len(cells))]
    row = (f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
    return f"<tr>{''.join(row)}</tr>"


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """Nested JSON as rows, each with the path to it."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{name} · {key}" if name else str(key))
    else:
        yield name.replace("_", " ") or "recorded", in_words(value)
