"""More processes on this machine that score for a search; one that is lost costs it nothing."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from .. import CompressError

if TYPE_CHECKING:
    from .config import SearchConfig
    from .winner import Places

_log = logging.getLogger(__name__)

_PATIENCE_S = 30.0
"""After the last score, a helper may be at one that nobody needs any more."""


@contextmanager
def helpers(number: int, config: "SearchConfig", places: "Places") -> Iterator[None]:
    """Inside, `number` processes help the search that has been started at `places`.

    They share this machine's processors with the caller. When the block is left they are ended.
    """
    import torch

    if number == 0:
        yield
        return
    threads = torch.get_num_threads()
    each = max(1, (os.cpu_count() or 1) // (number + 1))
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_help, args=(config, places, each), daemon=True)
        for _ in range(number)
    ]
    torch.set_num_threads(each)
    try:
        for process in processes:
            process.start()
        yield
    finally:
        torch.set_num_threads(threads)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(_PATIENCE_S)


def _help(config: "SearchConfig", places: "Places", threads: int) -> None:
    import torch

    from train import TrainError

    from .winner import join

    threading.Thread(target=_end_with_the_search, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        join(config, places)
    except (CompressError, TrainError) as fault:
        _log.warning("a helper stopped, the search goes on without it: %s", fault)
    except KeyboardInterrupt:  # the search itself says that it was interrupted
        return


def _end_with_the_search() -> None:
    """Where the search was killed it could not end its helpers; they would go on to the last score.

    At once, whatever is being done: a store bears it.
    """
    search = multiprocessing.parent_process()
    assert search is not None, "helpers are started by a search"
    wait([search.sentinel])
    os._exit(1)
