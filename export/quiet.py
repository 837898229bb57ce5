"""Libraries that print pages while they work, held back without a trace of it afterwards."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_PROGRESS = "LITERT_TORCH_SHOW_PROGRESS"


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what the libraries print, and leave logging and environment as they were.

    The converter's C++ writes to the process' standard error, which goes nowhere meanwhile; what
    it cannot do arrives as an exception.
    """
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    progress = os.environ.get(_PROGRESS)
    os.environ[_PROGRESS] = "n"
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            root.setLevel(logging.CRITICAL)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        root.setLevel(level)
        root.handlers[:] = handlers
        if progress is None:
            del os.environ[_PROGRESS]
        else:
            os.environ[_PROGRESS] = progress
