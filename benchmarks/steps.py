"""Training steps that take turns, their times, and where the time goes; for several scripts."""

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from train.data.batches import Batch

SAMPLE_RATE = 16_000
REST = "elementwise and the rest"

Step = Callable[[], None]
Kinds = Mapping[str, tuple[str, ...]]
"""Operators by what their names hold, or those of what called them where a part has a capital:
our own operators and torch's phases are known by their callers."""


def make_batch(rows: int, num_samples: int) -> Batch:
    """Noise: what is said makes no difference to how long it takes."""
    return Batch(
        cut_ids=[f"cut{row}" for row in range(rows)],
        waveform=0.1 * torch.randn(rows, num_samples),
        lengths=torch.full((rows,), num_samples),
        num_samples=[num_samples] * rows,
        starts=[0] * rows,
        labels=[""] * rows,
        rows=list(range(rows)),
        step=0,
    )


def stepper(module: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """Forward, backward, AdamW in its fused form, which is the default of transformers' trainer."""
    module.train()
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, fused=True
    )

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def timed(step: Step) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - cpu


def take_turns(
    steps: Iterable[Step], pairs: int, between: Step | None = None
) -> tuple[list[list[float]], list[list[float]]]:
    """Wall seconds, then processor seconds, of `pairs` steps of each side: A B A B …

    Args:
        steps: the sides.
        pairs: timed steps of each; two more warm it up.
        between: called after each pair.
    """
    sides = list(steps)
    for step in sides * 2:  # page faults, kernels that are made at the first call
        step()
    taken: list[list[tuple[float, float]]] = [[] for _ in sides]
    for _ in range(pairs):
        for times, step in zip(taken, sides, strict=True):
            times.append(timed(step))
        if between is not None:
            between()
    wall, cpu = ([[pair[kind] for pair in times] for times in taken] for kind in (0, 1))
    return wall, cpu


def sgemm(size: int = 2048) -> float:
    """GFLOP/s of a plain product of float32 matrices: what the machine has to give."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    start = time.perf_counter()
    left @ right
    return 2 * size**3 / (time.perf_counter() - start) / 1e9


def profiled(step: Step, kinds: Kinds) -> dict[str, float]:
    """Seconds of one step by kind of work."""
    with profile(activities=[ProfilerActivity.CPU]) as record:
        step()
    seconds: Counter[str] = Counter()
    for event in record.events():
        seconds[kind_of(event, kinds)] += event.self_cpu_time_total / 1e6
    return dict(seconds)


def kind_of(event: Any, kinds: Kinds) -> str:
    """The first kind that a caller names, else the first that the operator's own name does."""
    for kind, parts in kinds.items():
        telling = [part for part in parts if any(letter.isupper() for letter in part)]
        if any(part in caller for caller in callers(event) for part in telling):
            return kind
    for kind, parts in kinds.items():
        if any(part in event.name for part in parts):
            return kind
    return REST


def callers(event: Any) -> Iterator[str]:
    while event is not None:
        yield event.name
        event = event.cpu_parent


def processor() -> str:
    """The processor's name, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
