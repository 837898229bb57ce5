"""A bar on standard error for work that takes a while."""

from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], what: str) -> Iterable[Item]:
    """Walk `items` with a bar, which a terminal shows and a log file is spared."""
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    return rich_track(
        items, description=what, console=console, transient=True, disable=not console.is_terminal
    )
