"""Curves as small SVG pictures, written by hand: no font, no script, no network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 360, 190
_MOST_POINTS = 600


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where values lie on a picture: x to the right, y upwards, inside four margins.

    Sizes are the picture's own units; a page may show it larger.
    """

    width: int
    height: int
    x: tuple[float, float]
    """Values at the left and the right end; equal ones lie in the middle."""
    y: tuple[float, float]
    """Values at the bottom and at the top, which differ."""
    left: int = 58
    right: int = 10
    top: int = 22
    bottom: int = 22

    def across(self, x: float) -> float:
        """Where `x` lies, from the left."""
        first, last = self.x
        share = (x - first) / (last - first) if last > first else 0.5
        return self.left + share * (self.width - self.left - self.right)

    def up(self, y: float) -> float:
        """Where `y` lies, from the top as SVG counts."""
        low, high = self.y
        share = (y - low) / (high - low)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def opening(self, title: str) -> str:
        """The `<svg>` tag and the title above the picture, escaped here."""
        text = escape(title)
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{text}">'
            f'<text x="{self.left}" y="14" class="title">{text}</text>'
        )

    def levels(self, ticks: Sequence[float]) -> str:
        """A line across the picture at each tick of y, its number at the left."""
        return "".join(
            f'<line x1="{self.left}" x2="{self.width - self.right}" '
            f'y1="{self.up(tick):.1f}" y2="{self.up(tick):.1f}"/>'
            f'<text x="{self.left - 5}" y="{self.up(tick) + 3:.1f}" class="y">{tick:.4g}</text>'
            for tick in ticks
        )

    def line(self, points: Points) -> str:
        """A polyline through `points`."""
        path = " ".join(f"{self.across(x):.1f},{self.up(y):.1f}" for x, y in points)
        return f'<polyline points="{path}"/>'


def curve(title: str, points: Points) -> str:
    """Draw one curve with its axes.

    Args:
        title: what stands above it; escaped here.
        points: x and y, x ascending; what is not finite is left out.

    Returns:
        an `<svg>` element; one that says so where there is nothing to draw.
    """
    finite = [point for point in points if all(map(math.isfinite, point))]
    if not finite:
        return nothing_drawn(title, _WIDTH, _HEIGHT)
    ticks = nice_ticks(min(y for _, y in finite), max(y for _, y in finite))
    first, last = finite[0][0], finite[-1][0]
    frame = Frame(width=_WIDTH, height=_HEIGHT, x=(first, last), y=(ticks[0], ticks[-1]))
    parts = [frame.opening(title), frame.levels(ticks)]
    for x, anchor in ((first, "start"), (last, "end"))[: 1 + (last > first)]:
        parts.append(
            f'<text x="{frame.across(x):.1f}" y="{_HEIGHT - 7}" '
            f'text-anchor="{anchor}">{x:,.0f}</text>'
        )
    drawn = thinned(finite)
    if len(drawn) == 1:
        x, y = drawn[0]
        parts.append(f'<circle cx="{frame.across(x):.1f}" cy="{frame.up(y):.1f}" r="2.5"/>')
    return "".join([*parts, frame.line(drawn), "</svg>"])


def nothing_drawn(title: str, width: int, height: int) -> str:
    """An `<svg>` element of this size that says that there is nothing to draw."""
    frame = Frame(width=width, height=height, x=(0, 1), y=(0, 1))
    place = f'<text x="{frame.left}" y="{height // 2}">nothing to draw</text>'
    return f"{frame.opening(title)}{place}</svg>"


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
