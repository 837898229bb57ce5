"""How long graphs take on this machine: building blocks for a table, or whole models.

Graphs take turns (A B C A B C ...): whatever else the machine does hits all of them, and each finds
the caches as the others left them, as a layer does among the layers of a model.
"""

import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import replacing_file
from .blocks import SCHEMA_VERSION, Block, BlockSet
from .doctor import machine
from .faults import RuntimeFault
from .stream import Engine, engine_for

ROUNDS = 50
"""Runs of each graph by default."""
_WARM_UP_RUNS = 2  # the first run allocates


@dataclass(frozen=True)
class Timing:
    """Wall-clock time of one run."""

    median_ns: int
    p90_ns: int


@dataclass(frozen=True)
class Run:
    """A graph to time, with what it is fed."""

    graph: bytes
    feeds: Mapping[str, np.ndarray]
    file_name: str = "model.onnx"
    """Its ending says which engine runs it."""


def time_graph(
    graph: bytes, feeds: Mapping[str, np.ndarray], *, threads: int = 1, rounds: int = ROUNDS
) -> Timing:
    """Time one ONNX graph as a bundle's would run here.

    Args:
        graph: the bytes of a .onnx file, weights included.
        feeds: its inputs by name.
        threads: processor threads of the engine.
        rounds: runs after two of warming up.

    Raises:
        BundleFault: the engine is not installed, or refuses the graph or its inputs.
    """
    run = Run(graph, feeds)
    return time_together({"graph": run}, threads=threads, rounds=rounds)["graph"]


def time_together(
    runs: Mapping[str, Run],
    *,
    threads: int = 1,
    rounds: int = ROUNDS,
    tell: Callable[[int], None] = lambda done: None,
) -> dict[str, Timing]:
    """Time several graphs in turns; all of them are in memory at once.

    Args:
        runs: graphs by name.
        threads: processor threads of an engine.
        rounds: runs of each after two of warming up, 1 or more.
        tell: called with the number of rounds done after each.

    Raises:
        BundleFault: as `time_graph`; the message names the graph.
    """
    if rounds < 1:
        raise RuntimeFault(f"rounds must be 1 or more, got {rounds}")
    engines = {key: _start(key, run, threads) for key, run in runs.items()}
    times_ns = {key: np.zeros(rounds, dtype=np.int64) for key in runs}
    for number in range(rounds):
        for key, engine in engines.items():
            feeds = runs[key].feeds
            started_ns = time.perf_counter_ns()
            engine.run(feeds)
            times_ns[key][number] = time.perf_counter_ns() - started_ns
        tell(number + 1)
    return {
        key: Timing(round(float(np.median(spent))), round(float(np.percentile(spent, 90))))
        for key, spent in times_ns.items()
    }


def measure_blocks(
    blocks: BlockSet,
    *,
    threads: int = 1,
    rounds: int = ROUNDS,
    tell: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Time every building block: the device table, as JSON's own types.

    Args:
        blocks: what `read_blocks` gave.
        threads: processor threads of the engine, as the bundle will be run with.
        rounds: runs of each block.
        tell: as for `time_together`.

    Raises:
        BundleFault: as `time_graph`; the message names the block.
    """
    timings = time_together(block_runs(blocks), threads=threads, rounds=rounds, tell=tell)
    return table_of(blocks, timings, threads=threads, rounds=rounds)


def table_of(
    blocks: BlockSet, timings: Mapping[str, Timing], *, threads: int, rounds: int
) -> dict[str, Any]:
    """The device table of timings that were made here, as JSON's own types."""
    contents = blocks.contents
    overhead = contents.overhead.file
    engine = engine_for(overhead, blocks.files[overhead], threads=threads)
    return {
        "schema_version": SCHEMA_VERSION,
        "space": contents.space,
        "definition": contents.definition,
        "window_samples": contents.window_samples,
        "threads": threads,
        "rounds": rounds,
        "machine": machine(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "engine": engine.version,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "overhead_ns": timings["overhead"].median_ns,
        "blocks": {key: asdict(timings[key]) for key in contents.blocks},
    }


def block_runs(blocks: BlockSet) -> dict[str, Run]:
    """Every block with quiet noise to run on, and `overhead`."""
    rng = np.random.default_rng(0)
    contents = blocks.contents

    def run(block: Block) -> Run:
        # digital silence can be faster than speech
        noise = rng.uniform(-0.1, 0.1, block.shape).astype(np.float32)
        return Run(blocks.files[block.file], {block.input: noise}, block.file)

    return {
        "overhead": run(contents.overhead),
        **{key: run(block) for key, block in contents.blocks.items()},
    }


def write_table(table: Mapping[str, Any], path: Path) -> None:
    """Write a device table; an older one is replaced.

    Raises:
        RuntimeFault: it cannot be written; what was there is left as it was.
    """
    try:
        with replacing_file(path) as temporary:
            temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise RuntimeFault(f"{path} cannot be written: {error}. Choose another --out.") from error


def _start(key: str, run: Run, threads: int) -> Engine:
    try:
        engine = engine_for(run.file_name, run.graph, threads=threads)
        for _ in range(_WARM_UP_RUNS):
            engine.run(run.feeds)
        return engine
    except RuntimeFault as fault:
        raise type(fault)(f"{key}: {fault}") from fault


def _processor() -> str:
    """What people call the processor or the board, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    named = dict(line.replace("\t", "").split(": ", 1) for line in lines if ": " in line)
    return named.get("Model") or named.get("model name") or platform.processor() or "not told"
