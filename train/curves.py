"""Curves as small SVG pictures, written by hand: no font, no script, no network."""

import math
from collections.abc import Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 22, 22
_MOST_POINTS = 600


def curve(title: str, points: Points) -> str:
    """Draw one curve with its axes.

    Args:
        title: what stands above it; escaped here.
        points: x and y, x ascending; what is not finite is left out.

    Returns:
        an `<svg>` element; one that says so where there is nothing to draw.
    """
    finite = [point for point in points if all(map(math.isfinite, point))]
    head = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<text x="{_LEFT}" y="14" class="title">{escape(title)}</text>'
    )
    if not finite:
        return f'{head}<text x="{_LEFT}" y="{_HEIGHT // 2}">nothing to draw</text></svg>'
    ticks = nice_ticks(min(y for _, y in finite), max(y for _, y in finite))
    first, last = finite[0][0], finite[-1][0]
    low, high = ticks[0], ticks[-1]

    def across(x: float) -> float:
        share = (x - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        return _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [head]
    for tick in ticks:
        place = up(tick)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
            f'<text x="{_LEFT - 5}" y="{place + 3:.1f}" class="y">{tick:.4g}</text>'
        )
    for x, anchor in ((first, "start"), (last, "end"))[: 1 + (last > first)]:
        parts.append(
            f'<text x="{across(x):.1f}" y="{_HEIGHT - 7}" text-anchor="{anchor}">{x:,.0f}</text>'
        )
    drawn = [(across(x), up(y)) for x, y in thinned(finite)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
    if len(drawn) == 1:
        parts.append(f'<circle cx="{drawn[0][0]:.1f}" cy="{drawn[0][1]:.1f}" r="2.5"/>')
    return "".join([*parts, f'<polyline points="{path}"/></svg>'])


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to ten round numbers, 1, 2 or 5 apart at their scale, that enclose an interval."""
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        spare = abs(high) / 2 or 1.0
        low, high = low - spare, high + spare
    widest = (high - low) / 3 * (1 + 1e-9)  # log10 may round up
    scale = 10.0 ** math.floor(math.log10(widest))
    step = scale * max(factor for factor in (1, 2, 5) if factor == 1 or factor * scale <= widest)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def thinned(points: Points) -> list[tuple[float, float]]:
    """At most `_MOST_POINTS`: the lowest and the highest of each stretch, so that spikes stay."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    stretches = _MOST_POINTS // 2
    kept = []
    for number in range(stretches):
        begin, end = (len(points) * edge // stretches for edge in (number, number + 1))
        some = points[begin:end]
        extremes = {min(some, key=lambda point: point[1]), max(some, key=lambda point: point[1])}
        kept.extend(sorted(extremes))
    return kept
