"""What a search needs of a supernet of either kind, and where it reads and writes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..any_space import AnySpace, AnySubnet
from ..budget import Budget
from ..cost.latency import DeviceTable
from ..feasible import feasibility
from .candidates import SearchResult
from .config import SearchConfig

Score = Callable[[AnySubnet], float]
"""Lower is better."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a search reads and writes."""

    supernet: Path
    """A run folder of `compress distill`, or a supernet's checkpoint."""
    data: Path
    """A corpus; held-out clips come from its valid partition."""
    out: Path
    """The run folder."""
    teacher: Path | None = None
    """What an encoders' supernet was distilled from; None: what its run says."""
    device: Path | None = None
    """A table of block latencies."""
    storage: str | None = None
    """Where workers share scores; None: a file in `out`."""


class Subject(ABC):
    """A supernet that is searched, with the budget and the places that it is searched with."""

    def __init__(self, config: SearchConfig, places: Places, space: AnySpace) -> None:
        """Look at what was asked, and say what cannot be before anything is read.

        Raises:
            CompressError: nothing fits, or the device's table is of another space.
        """
        # By its name: a run goes on with the scorer that it began with, however that was asked for.
        self.config = replace(config, scorer=config.scorer_for(space))
        self.places, self.space = places, space
        self.device = None if places.device is None else DeviceTable.read(places.device)
        self.budget: Budget = config.budget(space, self.device)
        feasibility(space, self.budget)
        self.made_from = {"data": places.data.resolve().name}
        if places.device is not None and self.device is not None:
            made = f"{self.device.date}, {self.device.processor}"
            self.made_from["device"] = f"{places.device.name} of {made}"

    @abstractmethod
    def scorer(self) -> Score:
        """Prepare to score; the same for every worker."""

    @abstractmethod
    def cut_out(self, result: SearchResult) -> dict[str, Any]:
        """Save the winner as a dense model in `out/model`, the same if it is done again.

        Returns:
            what its own training and measuring found, as JSON values: `fine_tuned`, `measured`.
        """
