"""The end of an error about an unknown name: the nearest one, or all of them."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """'headz' -> "did you mean 'heads'?"; without a near one, the whole list."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known are {', '.join(names)}"
