"""Scatter plots as SVG written by hand: each point says on hover what it is; no script."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from train.curves import Frame, nice_ticks, nothing_drawn

Mark = Literal["candidate", "front", "smallest", "largest", "measured", "winner"]
"""What a point is drawn as; later ones lie on top."""

_ORDER: tuple[Mark, ...] = ("candidate", "front", "smallest", "largest", "measured", "winner")

_WIDTH, _HEIGHT = 480, 320
_FAR = 2.0
"""A limit further right than this many times the largest x is told in words, not drawn."""
_ROOM = 1.05
"""The picture goes on to this many times the limit, so that what exceeds it is seen as shaded."""

STYLE = """
.plots { display: grid; gap: 1em 2em;
  grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)) }
svg.legend { display: inline-block; width: 16px; height: 14px; vertical-align: -2px }
.plots svg { max-width: 640px } svg rect.over { fill: #c0392b; opacity: .08 }
svg line.limit { stroke: #c0392b; stroke-dasharray: 4 3 } svg text.limit { fill: #a03024 }
svg .mark { stroke: #fff; stroke-width: .6 } svg .mark:hover { stroke: #1b1b1f; stroke-width: 1.6 }
svg .candidate { fill: #9db4d8 } svg .front { fill: #2b5fb8 } svg .smallest { fill: #2d8a57 }
svg .largest { fill: #7b3fa0 } svg .winner { fill: #e07b00 }
svg .measured { fill: #fff; stroke: #e07b00; stroke-width: 1.5 }
"""


@dataclass(frozen=True)
class Spot:
    """A point and what it tells."""

    x: float
    y: float
    about: str
    """Shown on hover; escaped when drawn."""
    mark: Mark = "candidate"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What an axis measures, and how its numbers are written."""

    name: str
    text: Callable[[float], str]


def scatter(
    title: str,
    spots: Sequence[Spot],
    scale: Scale,
    *,
    line: Sequence[tuple[float, float]] = (),
    limit: float | None = None,
) -> str:
    """Draw points over one cost, less being better in both directions.

    Args:
        title: what stands above; escaped here.
        spots: finite points; those of a later mark lie on top.
        scale: of x.
        line: a line through the picture, such as the Pareto front.
        limit: the budget; what lies right of it is shaded.

    Returns:
        an `<svg>` element; one that says so where there is nothing to draw.
    """
    if not spots:
        return nothing_drawn(title, _WIDTH, _HEIGHT)
    most = max(spot.x for spot in spots)
    near = limit is not None and limit <= _FAR * most
    across = [spot.x for spot in spots]
    if limit is not None and near:
        across.append(_ROOM * limit)
    x_ticks = nice_ticks(min(across), max(across))
    y_ticks = nice_ticks(min(spot.y for spot in spots), max(spot.y for spot in spots))
    frame = Frame(
        width=_WIDTH,
        height=_HEIGHT,
        x=(x_ticks[0], x_ticks[-1]),
        y=(y_ticks[0], y_ticks[-1]),
        right=20,
        bottom=40,
    )
    parts = [frame.opening(title), frame.levels(y_ticks), _below(frame, x_ticks, scale)]
    if limit is not None:
        parts.append(_limit(frame, limit, scale) if near else _far_limit(frame, limit, scale))
    if line:
        parts.append(frame.line(line))
    for spot in sorted(spots, key=lambda spot: _ORDER.index(spot.mark)):
        parts.append(_mark(spot.mark, frame.across(spot.x), frame.up(spot.y), spot.about))
    return "".join([*parts, "</svg>"])


def legend(marks: Sequence[tuple[Mark, str]]) -> str:
    """A line that shows each mark with its meaning, which is escaped here."""
    shown = (
        f'<svg class="legend" viewBox="0 0 16 14">{_mark(mark, 8, 7, name)}</svg> {escape(name)}'
        for mark, name in marks
    )
    return f"<p>{' &#160; '.join(shown)}</p>"


def _below(frame: Frame, ticks: Sequence[float], scale: Scale) -> str:
    """Numbers under the picture and what they are."""
    bottom = frame.height - frame.bottom
    marks = "".join(
        f'<line x1="{frame.across(tick):.1f}" x2="{frame.across(tick):.1f}" '
        f'y1="{bottom}" y2="{bottom + 4}"/>'
        f'<text x="{frame.across(tick):.1f}" y="{bottom + 15}" text-anchor="middle">'
        f"{escape(scale.text(tick))}</text>"
        for tick in ticks
    )
    middle = (frame.left + frame.width - frame.right) / 2
    return (
        f'{marks}<text x="{middle:.1f}" y="{frame.height - 6}" text-anchor="middle">'
        f"{escape(scale.name)}</text>"
    )


def _limit(frame: Frame, limit: float, scale: Scale) -> str:
    """The budget's line, and a shade over what exceeds it."""
    place, end = frame.across(limit), frame.width - frame.right
    bottom = frame.height - frame.bottom
    return (
        f'<rect class="over" x="{place:.1f}" y="{frame.top}" '
        f'width="{max(end - place, 0):.1f}" height="{bottom - frame.top}"/>'
        f'<line class="limit" x1="{place:.1f}" x2="{place:.1f}" y1="{frame.top}" y2="{bottom}"/>'
        f'<text class="limit" x="{place - 4:.1f}" y="{frame.top + 10}" text-anchor="end">'
        f"at most {escape(scale.text(limit))}</text>"
    )


def _far_limit(frame: Frame, limit: float, scale: Scale) -> str:
    return (
        f'<text class="limit" x="{frame.width - frame.right}" y="{frame.top + 10}" '
        f'text-anchor="end">at most {escape(scale.text(limit))}, far to the right</text>'
    )


_STAR = ((0, -7), (1.7, -2.3), (6.7, -2.2), (2.7, 0.9), (4.1, 5.7), (0, 2.9), (-4.1, 5.7),
         (-2.7, 0.9), (-6.7, -2.2), (-1.7, -2.3))  # fmt: skip
_SHAPES: dict[Mark, Sequence[tuple[float, float]]] = {
    "smallest": ((0, -5), (4.8, 3.6), (-4.8, 3.6)),
    "largest": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
    "winner": _STAR,
}
_RADIUS: dict[Mark, float] = {"candidate": 3, "front": 3.6, "measured": 6.5}


def _mark(mark: Mark, x: float, y: float, about: str) -> str:
    title = f"<title>{escape(about)}</title>"
    if mark in _RADIUS:
        place = f'cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS[mark]}"'
        return f'<circle class="mark {mark}" {place}>{title}</circle>'
    corners = " ".join(f"{x + right:.1f},{y + down:.1f}" for right, down in _SHAPES[mark])
    return f'<polygon class="mark {mark}" points="{corners}">{title}</polygon>'
