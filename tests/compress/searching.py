"""Search a tiny space as one process that may be killed: python searching.py STORAGE.

Says `begun` once it has a candidate to score. For test_search.py.
"""

import sys
import time
from pathlib import Path

from tiny_spaces import tiny_space

from compress.budget import Budget
from compress.cost.params import params
from compress.search.candidates import SearchResult
from compress.search.study import run_search
from compress.subnet import Subnet

SPACE = tiny_space()
BUDGET = Budget(params=(params(SPACE, SPACE.smallest()) + params(SPACE, SPACE.largest())) // 2)
NUM_TRIALS = 60


def score(subnet: Subnet) -> float:
    """Lower for many heads and narrow layers."""
    return 10.0 - sum(subnet.num_heads) + sum(subnet.ffn_dim) / 50 - subnet.embed_dim / 100


def slow_score(subnet: Subnet) -> float:
    """The same after 20 ms of the processor, so that kills fall into scores and between them."""
    print("begun", flush=True)
    end = time.process_time() + 0.02
    while time.process_time() < end:
        pass
    return score(subnet)


def search(storage: Path, score=score, **asked) -> SearchResult:
    return run_search(
        SPACE,
        budget=BUDGET,
        num_trials=NUM_TRIALS,
        population=6,
        seed=1,
        storage=storage,
        score=score,
        **asked,
    )


if __name__ == "__main__":
    search(Path(sys.argv[1]), slow_score, resume=True)
