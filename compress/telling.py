"""Where a verb of several steps is: a line when one begins, and how long it took."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


@contextmanager
def step(place: str, title: str) -> Iterator[None]:
    """Tell that a step begins, such as `3/7`, and when it is done its seconds."""
    began = time.monotonic()
    _log.info("\n[%s] %s", place, title)
    yield
    _log.info("      %.0f s", time.monotonic() - began)
