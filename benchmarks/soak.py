"""Push hours of sound through a bundle's stream as fast as it goes, and fail where memory grows.

    python benchmarks/soak.py keywords.bundle
    python benchmarks/soak.py keywords.bundle --hours 24 --rate 48000 --json

Without a bundle a tiny model is made, which is quick enough for every test run: an hour takes
seconds. The sound is what a room gives: silence, noise of changing loudness, bursts that open the
gate, now and then a sample that is none, a clipped stretch, a block of another length.

Resident memory is looked at after a warm-up and at the end. What it may grow by is the allocator's
unrest, 2 MiB; a leak of one block of 100 ms, as float32, would be 220 MiB an hour.
"""

import argparse
import gc
import json
import logging
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime import Model, listen, load
from runtime.mending import Mender

MOST_GROWTH_BYTES = 2 << 20
WARM_UP = 0.1
"""Share of the sound after which memory is looked at for the first time."""


def main() -> int:
    """Print a row; 0 where memory did not grow, 1 where it did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="a bundle (default: a tiny one)")
    parser.add_argument("--hours", type=float, default=1.0, help="hours of sound (default: 1)")
    parser.add_argument("--rate", type=int, help="samples per second (default: the model's)")
    parser.add_argument("--no-gate", action="store_true", help="run the model in silence too")
    parser.add_argument("--json", action="store_true", help="an object")
    options = parser.parse_args()
    model = tiny() if options.bundle is None else load(options.bundle)
    rate_hz = options.rate or model.sample_rate
    num_blocks = max(100, round(36_000 * options.hours))
    sizes: list[int] = []
    logging.disable()  # the mender's warnings: what it mends is made here
    started_s = time.process_time()
    events = listen(
        model,
        watched(sound(rate_hz, num_blocks), num_blocks, sizes),
        sample_rate=rate_hz,
        gate=not options.no_gate,
    )
    num_events = sum(1 for _ in events)
    spent_s = time.process_time() - started_s
    growth_bytes = sizes[-1] - sizes[0]
    row = {
        "hours": num_blocks / 36_000,
        "events": num_events,
        "cpu_s_per_s": round(spent_s / (num_blocks / 10), 6),
        "resident_mib": round(sizes[-1] / 2**20, 1),
        "growth_kib": growth_bytes // 1024,
    }
    print(json.dumps(row) if options.json else "  ".join(f"{k} {v}" for k, v in row.items()))
    return int(growth_bytes > MOST_GROWTH_BYTES)


def tiny() -> Model:
    """One convolution, untrained, exported as any other."""
    import torch

    from export.bundle import export_keywords
    from runtime.bundle import Decision, Streaming

    torch.manual_seed(0)
    head = torch.nn.Linear(4, 3)
    with torch.no_grad():  # silence in silence, and one word or the other in a burst
        head.weight.mul_(200.0)
        head.bias.copy_(torch.tensor([2.0, 0.0, 0.0]))
    classifier = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, -1)),
        torch.nn.Conv1d(1, 4, 400, stride=160, bias=False),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool1d(1),
        torch.nn.Flatten(),
        head,
    )
    with tempfile.TemporaryDirectory() as folder:
        export_keywords(
            classifier.eval(),
            Path(folder) / "tiny.bundle",
            name="soak",
            labels=("_silence_", "yes", "no"),
            streaming=Streaming(window_samples=16_000, hop_samples=1_280),
            decision=Decision(keywords=("yes", "no"), threshold=0.3, smoothing_windows=3),
            provenance={},
            measured={},
        )
        return load(Path(folder) / "tiny.bundle")


def sound(rate_hz: int, num_blocks: int) -> Iterator[NDArray[np.float32]]:
    """Blocks of 100 ms, mended as a microphone's are."""
    rng = np.random.default_rng(0)
    block_samples = rate_hz // 10
    noise = rng.standard_normal(20 * block_samples).astype(np.float32)
    mender = Mender()
    for number in range(num_blocks):
        start = int(rng.integers(0, len(noise) - block_samples))
        length = block_samples - int(rng.integers(0, 40)) * (number % 7 == 0)
        # Minutes of digital silence, of quiet noise and of noise, with a burst every 20 s.
        level = (0.0, 1e-4, 3e-3)[number // 600 % 3]
        level = 0.3 if number % 200 < 6 else level
        block = level * noise[start : start + length]
        if number % 5000 == 0:
            block[::50] = np.nan
        yield mender.mend(block)


def watched(
    blocks: Iterator[NDArray[np.float32]], num_blocks: int, sizes: list[int]
) -> Iterator[NDArray[np.float32]]:
    """The same blocks; resident memory is noted after the warm-up, and at the end."""
    for number, block in enumerate(blocks):
        if number in (int(WARM_UP * num_blocks), num_blocks - 1):
            gc.collect()
            sizes.append(resident_bytes())
        yield block


def resident_bytes() -> int:
    """Of this process now, where Linux tells it."""
    text = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    raise SystemExit(main())
