"""Does a bundle work on this machine, with these versions, how fast, and in how much memory?"""

import dataclasses
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle, read_bundle
from .faults import AudioFault, BundleFault
from .forms import form_of
from .replay import replay
from .stream import Model, start_all
from .verified import Cell, read_table

_MAX_STEPS = 50
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
    """Largest absolute difference from the golden posteriors, of the graph and engine here that
    come nearest to what they may differ."""
    tolerance: float
    """Largest difference that the exporter allows there."""
    load_ms: float
    """Reading, verifying and starting the engine, once."""
    form: str
    """How it streams: the manifest's."""
    step_ms: float
    """Compute for one answer of a stream, a window anew or a hop with states: median of at most
    50."""
    step_p90_ms: float
    """What one answer in ten takes, or longer."""
    hop_ms: float
    """Audio between two answers."""
    stream_bytes: int
    """What a stream keeps from hop to hop: its window, or its states."""
    threads: int
    peak_memory_bytes: int | None
    """Most memory that the process ever held, Python included; None where no system call tells."""
    replayed: tuple[Cell, ...]
    """The golden pair here, offline and as a stream, on every engine that is installed."""
    verified: tuple[Cell, ...]
    """What the export measured where it was made; older bundles do not tell."""

    @property
    def real_time_factor(self) -> float:
        """Compute time for a second of audio, in seconds; from 1 on the device cannot follow."""
        return self.step_ms / self.hop_ms

    @property
    def real_time_factor_p90(self) -> float:
        """The same for one answer in ten."""
        return self.step_p90_ms / self.hop_ms

    @property
    def failed(self) -> tuple[Cell, ...]:
        """What answers here otherwise than it must."""
        return tuple(cell for cell in self.replayed if not cell.passed)

    @property
    def passed(self) -> bool:
        """The model computes here what it computed where it was exported, streamed or not."""
        return not self.failed

    def to_dict(self) -> dict[str, Any]:
        """All fields and the figures derived from them, for JSON."""
        return {
            "passed": self.passed,
            **dataclasses.asdict(self),
            "replayed": [cell.to_dict() for cell in self.replayed],
            "verified": [cell.to_dict() for cell in self.verified],
            "real_time_factor": self.real_time_factor,
            "real_time_factor_p90": self.real_time_factor_p90,
        }


def check(path: str | Path, *, threads: int = 1) -> Report:
    """Verify a bundle, replay its golden pair offline and streamed, and time one answer.

    Args:
        path: a bundle's folder or its .zip.
        threads: processor threads of the engine.

    Raises:
        BundleFault: what `load` raises, or a golden that the graph cannot take.
    """
    started_s = time.perf_counter()
    bundle = read_bundle(path)
    try:
        return _examined(bundle, threads=threads, started_s=started_s)
    except (AudioFault, BundleFault) as fault:
        raise BundleFault(f"{path}: {fault}") from fault


def _examined(bundle: Bundle, *, threads: int, started_s: float) -> Report:
    """Raises AudioFault for a golden input that no stream takes."""
    models = start_all(bundle, threads=threads)
    file, model = next(models)
    load_ms = 1e3 * (time.perf_counter() - started_s)
    golden = bundle.golden(file)
    times_ms, stream_bytes = _timed(model)
    manifest, engine = model.manifest, model.engine.version
    replayed = [*replay(file, model, golden)]
    for other_file, other in models:
        replayed += replay(other_file, other, bundle.golden(other_file))
    worst = max(
        (cell for cell in replayed if cell.against == "golden"),
        key=lambda cell: cell.largest_difference / cell.tolerance,
    )
    return Report(
        name=manifest.name,
        schema_version=manifest.schema_version,
        python=platform.python_version(),
        numpy=np.__version__,
        engine=engine,
        machine=machine(),
        max_error=worst.largest_difference,
        tolerance=worst.tolerance,
        load_ms=load_ms,
        form=manifest.streaming.form,
        step_ms=float(np.median(times_ms)),
        step_p90_ms=float(np.percentile(times_ms, 90)),
        hop_ms=1e3 * manifest.streaming.hop_samples / manifest.sample_rate,
        stream_bytes=stream_bytes,
        threads=threads,
        peak_memory_bytes=peak_memory_bytes(),
        replayed=tuple(replayed),
        verified=read_table(manifest.measured),
    )


def peak_memory_bytes() -> int | None:
    """Most resident memory that this process ever held; None where the platform does not tell.

    Linux counts in what a process held that was forked from a larger one, before it became this.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # the BSDs' and Linux' KiB


def machine() -> str:
    """System and architecture, such as "Linux aarch64"."""
    return f"{platform.system()} {platform.machine()}"


def _timed(model: Model) -> tuple[list[float], int]:
    """Times in ms of a stream's answers to quiet noise, and the bytes that it keeps.

    Digital silence can be faster than speech.
    """
    streaming = model.manifest.streaming
    memory = form_of(streaming).start(model)
    rng = np.random.default_rng(0)
    hop = rng.uniform(-0.1, 0.1, streaming.hop_samples).astype(np.float32)
    memory.answer(hop)  # the first run allocates
    times_ms: list[float] = []
    end_s = time.perf_counter() + _MAX_TIME_S
    while len(times_ms) < _MAX_STEPS and (not times_ms or time.perf_counter() < end_s):
        started_s = time.perf_counter()
        memory.answer(hop)
        times_ms.append(1e3 * (time.perf_counter() - started_s))
    return times_ms, memory.size_bytes
