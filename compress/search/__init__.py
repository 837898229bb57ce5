"""Search: candidates under a parameter target, scored on held-out audio, best one wins."""

from .. import CompressError


class SearchError(CompressError):
    """A search cannot start, go on or use what its scorer returned."""


__all__ = ["SearchError"]
