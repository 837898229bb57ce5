"""Latency of keyword models on a device that is not here, from the times of some whole ones.

A keyword model is too small to be a sum of blocks: what its front end and its shortest operations
take is most of it. So models drawn from the space are timed as wholes (`compress blocks`, then
`python -m runtime bench --blocks` on the device), and a sum of what they are made of is fitted to
their times: a constant, layers, parameters, multiply-accumulates, none with a negative weight.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..keyword_spaces import KeywordSpace, KeywordSubnet

if TYPE_CHECKING:
    from .latency import DeviceTable

NUM_MODELS = 24
"""Models that a device times; half of a second to three of export each."""

_LARGE_ERROR = 0.2
"""Of a fit; a quiet device gives less than half of it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ModelTimes:
    """A fit to a device's table."""

    weights: tuple[float, ...]
    """Ns for each of `_made_of`."""
    largest_error: float
    """Of the fit on the models that were timed, as a share of their times."""

    @classmethod
    def of(cls, table: "DeviceTable", space: KeywordSpace) -> "ModelTimes":
        """Fit.

        Raises:
            CompressError: the table is of another space, or lacks models.
        """
        from scipy.optimize import nnls

        table.check(space)
        timed = timed_models(space)
        times = np.array([table.blocks[key].median_ns for key in timed], dtype=np.float64)
        rows = np.array([_made_of(space, subnet) for subnet in timed.values()])
        # Errors count as shares of a time: a search looks at small models as well as at large ones.
        weights, _ = nnls(rows / times[:, None], np.ones(len(times)))
        error = float(np.abs(rows @ weights / times - 1.0).max())
        if error > _LARGE_ERROR:
            _log.warning(
                "the device table's times are fitted to %.0f %% at best: time the models again "
                "where nothing else runs, or leave room in the limit",
                100 * error,
            )
        return cls(tuple(weights.tolist()), error)

    def ns(self, space: KeywordSpace, subnet: KeywordSubnet) -> int:
        """What a model takes for the table's window, in ns."""
        return round(float(np.dot(_made_of(space, subnet), self.weights)))


def timed_models(space: KeywordSpace) -> dict[str, KeywordSubnet]:
    """Models that stand for a space, by their blocks' keys: its extremes and some between."""
    every = list(space.every())
    drawn = np.random.default_rng(0).permutation(np.arange(1, len(every) - 1))[: NUM_MODELS - 2]
    return {f"model.{rank}": every[rank] for rank in (0, *sorted(drawn), len(every) - 1)}


@lru_cache(maxsize=200_000)
def _made_of(space: KeywordSpace, subnet: KeywordSubnet) -> tuple[float, ...]:
    from .keyword_bodies import keyword_parts

    parts = keyword_parts(space, subnet)
    return (
        1.0,
        float(len(parts)),
        float(sum(part.params for part in parts)),
        float(sum(part.macs for part in parts)),
    )
