"""Does a bundle work on this machine, with these versions, and how fast?"""

import dataclasses
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .bundle import read_bundle
from .faults import BundleFault
from .stream import Model, start

_MAX_WINDOWS = 50
_MAX_TIME_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `check` found; every digest was right, or there would be no report."""

    name: str
    """The manifest's."""
    schema_version: str
    python: str
    numpy: str
    engine: str
    """Backend and version, such as "onnxruntime 1.32.0"."""
    machine: str
    max_error: float
    """Largest absolute difference from the golden posteriors."""
    tolerance: float
    """Largest difference that the exporter allows."""
    load_ms: float
    """Reading, verifying and starting the engine, once."""
    window_ms: float
    """Compute for one window, median of at most 50."""
    hop_ms: float
    """Audio between two windows."""
    threads: int

    @property
    def real_time_factor(self) -> float:
        """Compute time for a second of audio, in seconds; from 1 on the device cannot follow."""
        return self.window_ms / self.hop_ms

    @property
    def passed(self) -> bool:
        """The model computes here what it computed where it was exported."""
        return self.max_error <= self.tolerance

    def to_dict(self) -> dict[str, str | float | int | bool]:
        """All fields and both properties, for JSON."""
        return {
            "passed": self.passed,
            **dataclasses.asdict(self),
            "real_time_factor": self.real_time_factor,
        }


def check(path: str | Path, *, threads: int = 1) -> Report:
    """Verify a bundle, replay its golden pair and time one window.

    Args:
        path: a bundle's folder or its .zip.
        threads: processor threads of the engine.

    Raises:
        BundleFault: what `load` raises, or a golden that the graph cannot take.
    """
    started_s = time.perf_counter()
    bundle = read_bundle(path)
    try:
        model = start(bundle, threads=threads)
        load_ms = 1e3 * (time.perf_counter() - started_s)
        golden = bundle.golden()
        answer = model.engine.run({"pcm": golden.pcm})["posteriors"]
        if answer.shape != golden.posteriors.shape:
            raise BundleFault(
                f"the model answers {answer.shape} to the golden input, and the golden output is "
                f"{golden.posteriors.shape}. Export again."
            )
        window_ms = _window_ms(model)
    except BundleFault as fault:
        raise BundleFault(f"{path}: {fault}") from fault
    difference = np.abs(answer.astype(np.float64) - golden.posteriors)
    # A NaN compares as no error at all, and is the worst of them.
    max_error = float(np.max(np.where(np.isnan(difference), np.inf, difference)))
    manifest = bundle.manifest
    return Report(
        name=manifest.name,
        schema_version=manifest.schema_version,
        python=platform.python_version(),
        numpy=np.__version__,
        engine=model.engine.version,
        machine=machine(),
        max_error=max_error,
        tolerance=golden.tolerance,
        load_ms=load_ms,
        window_ms=window_ms,
        hop_ms=1e3 * manifest.streaming.hop_samples / manifest.sample_rate,
        threads=threads,
    )


def machine() -> str:
    """System and architecture, such as "Linux aarch64"."""
    return f"{platform.system()} {platform.machine()}"


def _window_ms(model: Model) -> float:
    """Median over windows of quiet noise: digital silence can be faster than speech."""
    rng = np.random.default_rng(0)
    shape = model.manifest.streaming.window_samples
    window = rng.uniform(-0.1, 0.1, shape).astype(np.float32)
    model.posteriors(window)  # the first run allocates
    times_ms: list[float] = []
    end_s = time.perf_counter() + _MAX_TIME_S
    while len(times_ms) < _MAX_WINDOWS and (not times_ms or time.perf_counter() < end_s):
        started_s = time.perf_counter()
        model.posteriors(window)
        times_ms.append(1e3 * (time.perf_counter() - started_s))
    return statistics.median(times_ms)
