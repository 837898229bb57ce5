"""What our pages of HTML are made of: one style, one head, tables; no script and no network."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from runtime.atomic import replacing_file

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em;
  color: #1b1b1f; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse } td, th { padding: .15em 1em .15em 0; text-align: left;
  vertical-align: top } td.number { text-align: right; font-variant-numeric: tabular-nums }
pre { background: #f5f5f7; padding: 1em; overflow-x: auto; font-size: 13px }
.curves { display: grid; gap: .5em 1em }
svg { width: 100%; max-width: 480px } svg text { font-size: 10px; fill: #55555c }
svg text.title { font-size: 12px; fill: #1b1b1f } svg text.y { text-anchor: end }
svg line { stroke: #e3e3e8 } svg polyline { fill: none; stroke: #2b5fb8; stroke-width: 1.4 }
svg circle { fill: #2b5fb8 } .note { color: #8a4b00 }
"""


def write_page(page: Path, title: str, body: Iterable[str], style: str = "") -> None:
    """Write a page, whole or not at all.

    Args:
        page: the HTML file; one that is there is replaced.
        title: the heading; escaped here.
        body: HTML that follows the heading, line by line; the caller has escaped what it quotes.
        style: CSS after that of all pages.

    Raises:
        OSError: the disk is full or the folder cannot be written; an older page stays.
    """
    name = escape(title)
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
    lines = [f"{head}\n<style>{_STYLE}{style}</style></head><body><h1>{name}</h1>", *body]
    with replacing_file(page) as temporary:
        # A lone half of a surrogate pair, which JSON can hold and UTF-8 cannot, becomes a "?".
        text = "\n".join([*lines, "</body></html>"])
        temporary.write_text(text, encoding="utf-8", errors="replace")


def table(rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and values, escaped here."""
    cells = (f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def in_words(value: Any) -> str:
    """A JSON value as people write it, in one line and not escaped."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(in_words, value))
    return str(value)
