"""Predicted against measured latency: random subnets, each summed from blocks and run as exported.

Blocks and whole models take turns on this machine (A B C A B C ...), one thread, so that whatever
else it does hits both. A model runs for as long as a system lets a program run when others wait,
so on a busy machine --alone is needed: whole models would be interrupted and blocks not.
Example: python benchmarks/latency.py otolite-tiny --subnets 5
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress.building_blocks import building_blocks
from compress.cost import total
from compress.cost.latency import DeviceTable, definition
from compress.cost.macs import macs
from compress.spaces import Space, get_space
from compress.subnet import Subnet
from export.blocks import write_blocks
from export.encoder import export_encoder
from export.verify import probe
from runtime.bench import Run, block_runs, table_of, time_together, write_table
from runtime.blocks import read_blocks
from train.models.wav2vec2 import Wav2Vec2Encoder

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Row:
    """One subnet."""

    subnet: Subnet
    mmacs: float
    predicted_ms: float
    measured_ms: float
    p90_ms: float

    @property
    def ratio(self) -> float:
        return self.predicted_ms / self.measured_ms


def compare(
    space: Space, subnets: list[Subnet], *, rounds: int, alone: bool, folder: Path
) -> list[Row]:
    """Export blocks and subnets, time all of them in turns, and add up."""
    zipped, table = folder / "blocks.zip", folder / "table.json"
    write_blocks(
        zipped,
        building_blocks(space, SAMPLE_RATE),
        space=space.name,
        definition=definition(space),
        window_samples=SAMPLE_RATE,
    )
    blocks = read_blocks(zipped)
    runs = block_runs(blocks)
    feeds = {"pcm": probe(SAMPLE_RATE, batch=1, seed=0)}
    for number, subnet in enumerate(subnets):
        graph = folder / f"{number}.onnx"
        encoder = Wav2Vec2Encoder(space.config(subnet))
        export_encoder(encoder, graph, window_samples=SAMPLE_RATE)
        print(f"exported subnet {number + 1} of {len(subnets)}", file=sys.stderr)
        runs[f"subnet {number}"] = Run(graph.read_bytes(), feeds)
    if alone:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    timings = time_together(runs, rounds=rounds)
    if alone:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    write_table(table_of(blocks, timings, threads=1, rounds=rounds), table)
    device = DeviceTable.read(table)
    device.check(space)
    return [
        Row(
            subnet,
            macs(space.config(subnet)).total / 1e6,
            total(device, space, subnet) / 1e6,
            timings[f"subnet {number}"].median_ns / 1e6,
            timings[f"subnet {number}"].p90_ns / 1e6,
        )
        for number, subnet in enumerate(subnets)
    ]


def show(rows: list[Row]) -> None:
    """Print the table and what it comes to."""
    print("embed_dim  layers   MMACs  predicted ms  measured ms (p90)  ratio")
    for row in rows:
        measured = f"{row.measured_ms:.2f} ({row.p90_ms:.2f})"
        print(
            f"{row.subnet.embed_dim:>9}  {row.subnet.depth:>6}  {row.mmacs:>6.0f}  "
            f"{row.predicted_ms:>12.2f}  {measured:>17}  {row.ratio:.3f}"
        )
    ratios = [row.ratio for row in rows]
    print(
        f"ratio: median {statistics.median(ratios):.3f}, "
        f"from {min(ratios):.3f} to {max(ratios):.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("space", nargs="?", default="otolite-tiny", help="(default: %(default)s)")
    parser.add_argument("--subnets", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the subnets (default: 0)")
    parser.add_argument(
        "--alone", action="store_true", help="let nothing interrupt the timing (Linux, root)"
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    space, rng = get_space(asked.space), np.random.default_rng(asked.seed)
    subnets = [space.sample(rng) for _ in range(asked.subnets)]
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(space, subnets, rounds=asked.rounds, alone=asked.alone, folder=Path(folder))
    if asked.json:
        for row in rows:
            print(json.dumps({"subnet": json.loads(row.subnet.to_json()), "ratio": row.ratio}))
    else:
        show(rows)


if __name__ == "__main__":
    main()
