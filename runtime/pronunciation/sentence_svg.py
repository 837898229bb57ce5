"""A checked sentence as a picture: its sound, its words, and each phone where it was said."""

from html import escape

import numpy as np

from ..faults import one_line
from .grading import MOST
from .judgement import Phone, Sentence, Status
from .marks import kind_of, mark_of

_PIXELS_A_SECOND = 240.0
_LEAST_WIDTH, _MOST_WIDTH = 320.0, 20_000.0
"""In pixels: half an hour at full scale would be more than browsers draw."""
_MARGIN = 12.0
_SOUND_TOP, _SOUND_HEIGHT = 12.0, 80.0
_WORDS_BASE, _BOXES_TOP, _BOX_HEIGHT, _HEARD_BASE, _HEIGHT = 112.0, 120.0, 22.0, 158.0, 172.0
_LEAST_BOX = 2.0
_FILLS: dict[Status, str] = {
    "correct": "#bfe3c6",
    "doubtful": "#f6e3a1",
    "substituted": "#f3b0a8",
    "deleted": "#ffffff",
    "inserted": "#dcc4ee",
}


def sentence_svg(sentence: Sentence, waveform: np.ndarray, sample_rate: int) -> str:
    """An SVG document that stands alone.

    Under the waveform, drawn against its own peak, come the words; then a box for each phone, from
    its start to its end, what was asked for within; and below it what was heard instead, in red, or
    beside it, with a plus. A box that is empty but for its edge was never said. A pointer held over
    a box is told the phone's score.

    Args:
        sentence: what was checked.
        waveform: (samples,), what was judged; none will do.
        sample_rate: its samples per second.
    """
    duration_s = max(sentence.duration_s, len(waveform) / sample_rate)
    scale = min(_PIXELS_A_SECOND, _MOST_WIDTH / duration_s)
    width = max(duration_s * scale, _LEAST_WIDTH) + 2 * _MARGIN
    text = " ".join(one_line(word.text) for word in sentence.words)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {_HEIGHT:.0f}" '
        f'width="{width:.0f}" height="{_HEIGHT:.0f}" role="img" aria-label="{escape(text)}" '
        f'font-family="sans-serif" font-size="11" text-anchor="middle">',
        f'<rect width="{width:.0f}" height="{_HEIGHT:.0f}" fill="#ffffff"/>',
        _sound(waveform, len(waveform) / sample_rate * scale),
    ]
    for word in sentence.words:
        middle = _MARGIN + (word.start_s + word.end_s) / 2 * scale
        fill = "#1b1b1f" if word.completeness else "#b3261e"
        parts.append(
            f'<text x="{middle:.1f}" y="{_WORDS_BASE:.0f}" font-size="13" fill="{fill}">'
            f"{escape(one_line(word.text))}</text>"
        )
        parts += [_box(phone, scale) for phone in word.phones]
    return "\n".join([*parts, "</svg>\n"])


def _sound(waveform: np.ndarray, width: float) -> str:
    """Lowest and highest sample of each pixel, as one line."""
    finite = np.nan_to_num(waveform, nan=0.0, posinf=0.0, neginf=0.0)
    num_pixels = min(int(width), len(finite))
    if not num_pixels:
        return ""
    starts = np.linspace(0, len(finite), num_pixels, endpoint=False).astype(np.int64)
    edges = np.column_stack(
        [np.minimum.reduceat(finite, starts), np.maximum.reduceat(finite, starts)]
    )
    peak = float(np.abs(edges).max()) or 1.0
    across = _MARGIN + np.repeat(np.arange(num_pixels) * width / num_pixels, 2)
    down = _SOUND_TOP + _SOUND_HEIGHT / 2 * (1 - edges.ravel() / peak)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="#2b5fb8" stroke-width="0.8"/>'


def _box(phone: Phone, scale: float) -> str:
    kind = kind_of(phone)
    left = _MARGIN + phone.start_s * scale
    width = max((phone.end_s - phone.start_s) * scale, _LEAST_BOX)
    middle = left + width / 2
    dashes = ' stroke-dasharray="2 2"' if kind == "deleted" else ""
    score = "" if phone.gop is None else f", {phone.gop:.2f} nats"
    if phone.score is not None:
        score = f", {phone.score:.1f} of {MOST:g}"
    parts = [
        f"<g><title>{escape(f'{mark_of(phone)}: {kind}{score}')}</title>"
        f'<rect x="{left:.1f}" y="{_BOXES_TOP:.0f}" width="{width:.1f}" '
        f'height="{_BOX_HEIGHT:.0f}" fill="{_FILLS[kind]}" stroke="#55555c"{dashes}/>'
    ]
    if phone.phone is not None:
        parts.append(_label(phone.phone, middle, _BOXES_TOP + 15, "#1b1b1f"))
    if kind == "substituted":
        parts.append(_label(phone.heard or "", middle, _HEARD_BASE, "#b3261e"))
    elif kind == "inserted":
        parts.append(_label(f"+{phone.heard}", middle, _HEARD_BASE, "#6b2fa0"))
    return "".join([*parts, "</g>"])


def _label(text: str, middle: float, base: float, fill: str) -> str:
    return f'<text x="{middle:.1f}" y="{base:.0f}" fill="{fill}">{escape(one_line(text))}</text>'
