"""What a device allows: limits on one cost or on several at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import CallError
from .any_space import AnySpace, AnySubnet
from .cost import Cost, macs, params, size, total
from .cost.model_times import ModelTimes
from .keyword_spaces import KeywordSpace, KeywordSubnet
from .subnet import Subnet

COSTS: Mapping[str, Cost] = {"params": params, "macs": macs, "size_bytes": size}
"""What is known of every encoder without a device, by its name in budgets and results; of a keyword
model parameters and multiply-accumulates are."""

LATENCY = "latency_ns"
"""The name of what only a table that was measured on a device tells."""

FLAGS = {
    "params": "--target-params",
    "macs": "--target-macs",
    "size_bytes": "--size-mb",
    LATENCY: "--latency-ms",
}
"""How people set each limit."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits that a subnet must keep, all of them."""

    params: int | None = None
    """Most parameters, an encoder's heads excluded and a keyword model's classifier included; None:
    no limit, as below."""
    macs: int | None = None
    """Most multiply-accumulates for a second of audio."""
    size_bytes: int | None = None
    """Most bytes of an encoder's exported float32 graph."""
    latency_ns: int | None = None
    """Most compute for the device table's window, in ns; goes with `device`."""
    device: Cost | ModelTimes | None = field(default=None, hash=False)
    """Latency of a subnet on a device, from its table, of the space's kind; None: unknown."""

    def __post_init__(self) -> None:
        check_limits(self.limits, has_device=self.device is not None)

    @property
    def limits(self) -> dict[str, int]:
        """The limits that are set, by the cost's name."""
        values = {
            "params": self.params,
            "macs": self.macs,
            "size_bytes": self.size_bytes,
            LATENCY: self.latency_ns,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def costs(self) -> dict[str, Cost]:
        """Every cost of encoders that is known, limited or not."""
        if self.device is None:
            return dict(COSTS)
        assert not isinstance(self.device, ModelTimes), "the table is of the space's kind"
        return {**COSTS, LATENCY: self.device}

    def only(self, name: str) -> "Budget":
        """The same without its other limits."""
        return Budget(**{name: self.limits[name]}, device=self.device)

    def cost_of(self, space: AnySpace, subnet: AnySubnet) -> dict[str, int]:
        """What a subnet costs, by every cost that is known."""
        if isinstance(space, KeywordSpace):
            from .cost.keyword_bodies import keyword_costs

            assert isinstance(subnet, KeywordSubnet), "the subnet is of the space"
            costs = keyword_costs(space, subnet)
            if isinstance(self.device, ModelTimes):
                costs[LATENCY] = self.device.ns(space, subnet)
            return costs
        assert isinstance(subnet, Subnet), "the subnet is of the space"
        return {name: total(cost, space, subnet) for name, cost in self.costs.items()}

    def holds(self, costs: Mapping[str, int]) -> bool:
        """Whether these costs keep every limit."""
        return all(costs[name] <= limit for name, limit in self.limits.items())

    def use(self, costs: Mapping[str, int]) -> float:
        """How much of the tightest limit these costs take; 1.0 is all of it."""
        return max(costs[name] / limit for name, limit in self.limits.items())


def check_limits(limits: Mapping[str, int], *, has_device: bool) -> None:
    """Refuse what is no budget in any space.

    Args:
        limits: by the cost's name.
        has_device: whether a device's table is given.

    Raises:
        CallError: there is none, one is not positive, or latency without a table.
    """
    if not limits:
        raise CallError(f"a search needs a budget: give {', '.join(FLAGS.values())}")
    for name, limit in limits.items():
        if limit < 1:
            raise CallError(f"{FLAGS[name]} must be positive, got {limit}")
    if LATENCY in limits and not has_device:
        raise CallError(
            "--latency-ms needs --device TABLE, which `python -m runtime bench` writes on the "
            "device (compress blocks makes what it measures)"
        )


def amount(name: str, value: int) -> str:
    """A cost for people: 30,000,000 parameters, 1.250 G MACs, 12.34 MB, 8.10 ms."""
    if name == "params":
        return f"{value:,} parameters"
    if name == "macs":
        return f"{value:,} MACs a second of audio"
    if name == "size_bytes":
        return f"{value / 1e6:,.3f} MB"
    return f"{value / 1e6:,.3f} ms"
