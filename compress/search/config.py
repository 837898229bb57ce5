"""What `compress search` looks for and how hard, without torch."""

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from .. import CallError
from ..any_space import AnySpace
from ..budget import Budget
from ..cost import Cost
from ..cost.latency import DeviceTable
from ..cost.model_times import ModelTimes
from ..keyword_spaces import KeywordSpace

_LABELS = "labels"


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SearchConfig:
    """What `compress search` looks for."""

    target_params: int | None = None
    """Most parameters of the subnet, as `Budget` counts them; None: no limit, as below."""
    target_macs: int | None = None
    """Most multiply-accumulates for a second of audio, or of a keyword model's window."""
    size_bytes: int | None = None
    """Most bytes of an encoder's exported float32 graph."""
    latency_ns: int | None = None
    """Most compute for the device table's window, in ns."""
    scorer: str | None = None
    """How candidates are compared: encoders by a file of compress/search/scorers, keyword models by
    `labels`, their loss; None: `distillation` or that."""
    front: bool = False
    """Search the front of scores and use of the budget, not the best score alone."""
    num_trials: int = 64
    """Subnets to score."""
    population: int = 16
    """Subnets of a generation."""
    num_clips: int = 128
    """Held-out clips that a subnet is scored on."""
    polish_updates: int = 0
    """Updates for which the winner alone is trained further; 0: it stays as it was cut."""
    seed: int = 0
    """Of the sampler, the clips and their masks, and of the polish."""

    def __post_init__(self) -> None:
        if self.population < 2 or min(self.num_trials, self.num_clips) < 1 or self.seed < 0:
            raise ValueError(
                "population must be 2 or more, num_trials and num_clips 1 or more, seed 0 or more;"
                f" got {self.population}, {self.num_trials}, {self.num_clips}, {self.seed}"
            )
        if self.polish_updates < 0:
            raise ValueError(f"polish_updates must be 0 or more, got {self.polish_updates}")

    def budget(self, space: AnySpace, device: DeviceTable | None) -> Budget:
        """The limits, on this space and device.

        Raises:
            CompressError: none is set, one is not positive, or the table is of another space.
        """
        if device is not None:
            device.check(space)
        if device is not None and isinstance(space, KeywordSpace):
            times: Cost | ModelTimes | None = ModelTimes.of(device, space)
        else:
            times = device
        return Budget(
            params=self.target_params,
            macs=self.target_macs,
            size_bytes=self.size_bytes,
            latency_ns=self.latency_ns,
            device=times,
        )

    def scorer_for(self, space: AnySpace) -> str:
        """How candidates of this space are compared.

        Raises:
            CallError: a scorer of encoders was asked for, and they are keyword models.
        """
        if not isinstance(space, KeywordSpace):
            return self.scorer or "distillation"
        if self.scorer not in (None, _LABELS):
            raise CallError(
                f"--scorer {self.scorer} compares encoders, and {space.name!r} is a space of "
                f"keyword models, which are compared by {_LABELS}; leave it out"
            )
        return _LABELS
