"""What listening costs: our runtime and the pip-installable wake-word engines, side by side.

    make spotter BUNDLE=wake-word.bundle
    python benchmarks/spotter.py --data ../shared/data --bundle wake-word.bundle

Each spotter lives in an environment of its own, which is made once (`--out`, some 500 MB), ours by
the device wheel with one engine each. Rounds take turns: every spotter hears every stream in a new
process, on one core and one thread, before the next round begins. A round that is done is kept, so
that an interrupted run goes on; another bundle or other streams begin anew.

Without a bundle, one of the recipe `keywords-tcn` with random weights is made: for its cost alone.
Writes docs/results/spotter.md and spotter.png. Linux.
"""

import argparse
import functools
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import spotter_page
from gate import read
from numpy.typing import NDArray

from runtime import load
from runtime.atomic import replacing_file

ROOT = Path(__file__).parents[1]
RATE_HZ, STREAM_S = 16_000, 60
FLOOR_DB = -60.0
"""Of a quiet room, against full scale: pauses of the speech, and all of the quiet stream."""
PACED_S = 20
"""Of the speech, in real time: between two blocks the caches go cold."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Spotter:
    """What is measured."""

    name: str
    kind: str
    """Of spotter_worker.py."""
    requirements: tuple[str, ...]
    """What pip installs into its environment; "WHEEL" is ours."""
    floor: str
    """The worker that has what it rests on and nothing of its own: numpy, and an engine that runs
    the same graph where that is a package of its own."""
    most_keywords: int
    passes: int
    """Times that a stream is heard in one process; short times are then longer than the clock's
    step."""


OURS = (
    Spotter("Otolite, LiteRT", "otolite", ("WHEEL[tflite]",), "litert", 0, 4),
    Spotter("Otolite, ONNX Runtime", "otolite", ("WHEEL[onnx]",), "onnxruntime", 0, 4),
)
PEERS = (
    Spotter("pymicro-wakeword", "pymicro", ("pymicro-wakeword==2.5.0",), "numpy", 4, 1),
    Spotter("pyopen-wakeword", "pyopen", ("pyopen-wakeword==1.1.0",), "numpy", 4, 1),
)


@dataclass(frozen=True)
class Task:
    """One process of a round."""

    spotter: Spotter
    stream: str
    """A file without its ending; empty: nothing is heard."""
    keywords: int
    paced: bool = False

    @property
    def key(self) -> str:
        """Names it in a round."""
        pace = ", paced" if self.paced else ""
        return f"{self.spotter.name}/{self.stream}{pace}/{self.keywords}"


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of data sets")
    parser.add_argument(
        "--bundle", type=Path, help="a folder with both formats (default: random weights)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/spotter"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if options.bundle and not (options.bundle / "model.tflite").is_file():
        raise SystemExit(
            f"{options.bundle} must be a bundle's folder with model.onnx and model.tflite: "
            "compress export RUN --format onnx --format tflite"
        )
    bundle = options.bundle or random_bundle(out / "random.bundle")
    num_keywords = len(load(bundle).manifest.keyword_decision.keywords)
    pythons = {spotter.name: environment(spotter, out) for spotter in (*OURS, *PEERS)}
    names = write_streams(options.data, out)
    measured = identity(bundle, [out / f"{name}.pcm" for name in names])
    folder = out / f"rounds-{measured[:12]}"
    rounds = []
    for number in range(options.rounds):
        path = folder / f"{number}.json"
        if not path.is_file():
            rows = one_round(tasks(names, num_keywords), pythons, bundle, out, options.core)
            path.parent.mkdir(exist_ok=True)
            with replacing_file(path) as temporary:
                temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        rounds.append(json.loads(path.read_text(encoding="utf-8")))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    facts = {
        "bundle": "random weights" if options.bundle is None else options.bundle.name,
        "keywords": num_keywords,
        "sizes": {name: installed(python) for name, python in pythons.items()},
        "engines": {spotter.name: engine(pythons[spotter.name], bundle) for spotter in OURS},
        "streams": names,
        "ours": [spotter.name for spotter in OURS],
        "peers": [asdict(spotter) for spotter in PEERS],
        "floors": {spotter.name: spotter.floor for spotter in (*OURS, *PEERS)},
    }
    print(spotter_page.write(rounds, facts, options.results))


def tasks(streams: dict[str, str], num_keywords: int) -> Iterator[Task]:
    """A round: all spotters before the next stream."""
    for stream in streams:
        for spotter in (*OURS, *PEERS):
            yield Task(spotter, stream, 1)
    first = next(iter(streams))
    for spotter in (*OURS, *PEERS):
        most = spotter.most_keywords or num_keywords
        if most > 1:
            yield Task(spotter, first, most)
        yield Task(spotter, first, 1, paced=True)
        yield Task(spotter, "", 1)


def one_round(
    wanted: Iterator[Task], pythons: dict[str, Path], bundle: Path, out: Path, core: int
) -> dict[str, Row]:
    """Each task's row by its key."""
    rows = {}
    for task in wanted:
        words = {
            "kind": task.spotter.kind if task.stream else task.spotter.floor,
            "pcm": str(out / f"{task.stream}{'-start' if task.paced else ''}.pcm"),
            "bundle": str(bundle.resolve()),
            "keywords": task.keywords,
            "passes": 1 if task.paced else task.spotter.passes,
            "paced": task.paced,
            "core": core,
            "started_s": time.monotonic(),
        }
        worker = Path(__file__).with_name("spotter_worker.py")
        rows[task.key] = json.loads(
            run(pythons[task.spotter.name], worker, json.dumps(words), cwd=out)
        )
    return rows


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; it knows nothing of our sources, and has one thread.

    Raises:
        SystemExit: it fails; its last words are told.
    """
    strange = ("PYTHONPATH", "PYTHONHOME", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    surroundings = {name: value for name, value in os.environ.items() if name not in strange}
    surroundings |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=cwd, env=surroundings
    )
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def environment(spotter: Spotter, out: Path) -> Path:
    """The Python of its environment, which is made where it is missing; ours with a new wheel."""
    folder = out / "environments" / spotter.name.replace(", ", "-").replace(" ", "-").lower()
    python = folder / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    if not (folder / "ready").is_file():
        print(f"installing {spotter.name} …", file=sys.stderr)
        run(sys.executable, "-m", "venv", folder, cwd=out)
        wheel = built(out).as_uri()
        needs = [
            need.replace("WHEEL", "otolite-runtime") + f" @ {wheel}" if "WHEEL" in need else need
            for need in spotter.requirements
        ]
        run(*pip, "--only-binary=:all:", *needs, cwd=out)
        (folder / "ready").touch()
    elif spotter in OURS:  # the sources may be others than they were
        run(*pip, "--force-reinstall", "--no-deps", built(out), cwd=out)
    return python


@functools.cache
def built(out: Path) -> Path:
    """Our wheel, of the sources as they are."""
    folder = out / "wheel"
    for old in folder.glob("*.whl"):
        old.unlink()
    run("make", "device-wheel", f"DIST={folder}", f"PYTHON={sys.executable}", cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def installed(python: Path) -> dict[str, float]:
    """MB of an environment's packages by name, without pip and what only it needs."""
    listed = """
import importlib.metadata as metadata, json
sizes = {}
for found in metadata.distributions():
    files = [found.locate_file(file) for file in found.files or () if file.suffix != ".pyc"]
    sizes[found.metadata["Name"]] = sum(file.stat().st_size for file in files if file.is_file())
print(json.dumps(sizes))
"""
    sizes = json.loads(run(python, "-c", listed, cwd=python.parent))
    return {name: size / 1e6 for name, size in sizes.items() if name not in ("pip", "setuptools")}


def engine(python: Path, bundle: Path) -> str:
    """What runs the bundle in an environment of ours, by the runtime's own words."""
    words = "import otolite_runtime, sys; print(otolite_runtime.load(sys.argv[1]).engine.version)"
    return run(python, "-c", words, bundle.resolve(), cwd=python.parent).strip()


def write_streams(data: Path, out: Path) -> dict[str, str]:
    """Files of int16, the same for everybody; what each holds, by its name."""
    rng = np.random.default_rng(0)
    noises = data / "noise_rir" / "gsc_background_noise"
    samples = STREAM_S * RATE_HZ
    floor = loud(read(noises / "pink_noise.opus")[:samples], FLOOR_DB)
    speech, seconds = talk(data / "librispeech_excerpt" / "test-other", floor, rng)
    streams = {
        "speech": (
            speech,
            f"read speech, {seconds:.0f} of {STREAM_S} s, pauses at {FLOOR_DB:g} dB",
        ),
        "quiet": (floor, f"a quiet room: pink noise at {FLOOR_DB:g} dB"),
        "noise": (
            loud(read(noises / "doing_the_dishes.opus")[:samples], -30.0),
            "somebody doing the dishes, at -30 dB",
        ),
    }
    for name, (waveform, _) in streams.items():
        whole = np.round(waveform * 32_767).astype("<i2")
        (out / f"{name}.pcm").write_bytes(whole.tobytes())
        (out / f"{name}-start.pcm").write_bytes(whole[: PACED_S * RATE_HZ].tobytes())
    return {name: about for name, (_, about) in streams.items()}


def talk(
    folder: Path, floor: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], float]:
    """Utterances at -23 dB with pauses as long as they are, and the seconds of speech."""
    heard = floor.copy()
    place = spoken = 0
    paths = sorted(folder.glob("*.opus"))
    for index in rng.permutation(len(paths)):
        utterance = loud(read(paths[index]), -23.0)
        piece = heard[place : place + len(utterance)]
        piece += utterance[: len(piece)]
        spoken += len(piece)
        place += 2 * len(utterance)
        if place >= len(heard):
            break
    return np.clip(heard, -1.0, 1.0), spoken / RATE_HZ


def loud(waveform: NDArray[np.float32], level_db: float) -> NDArray[np.float32]:
    """At a root of the mean square, against full scale."""
    root = float(np.sqrt(np.mean(waveform.astype(np.float64) ** 2)))
    return np.asarray(waveform * (10.0 ** (level_db / 20) / root), dtype=np.float32)


def identity(bundle: Path, streams: list[Path]) -> str:
    """Of all that a round's figures depend on and that may be another at the next call."""
    runtime = sorted((ROOT / "runtime").rglob("*.py"))
    graphs = sorted(bundle.iterdir()) if bundle.is_dir() else [bundle]
    found = hashlib.sha256()
    for path in (*graphs, *streams, *runtime, Path(__file__).with_name("spotter_worker.py")):
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def random_bundle(folder: Path) -> Path:
    """The default of `keywords-tcn`, ten words, which no threshold lets through."""
    if folder.is_dir():
        return folder
    import torch

    from export.bundle import export_keywords
    from runtime.manifest import Decision, Streaming
    from train.models.causal_tcn import CausalTcn, CausalTcnConfig
    from train.tasks.keyword_step import KeywordStep
    from train.tasks.keywords import KeywordModel

    words = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
    torch.manual_seed(0)
    model = KeywordModel(CausalTcn(CausalTcnConfig()), ("_silence_", "_unknown_", *words))
    step = KeywordStep(model.eval(), 2)
    export_keywords(
        step,
        folder,
        name="random-weights",
        labels=model.labels,
        streaming=Streaming(
            form="incremental",
            window_samples=step.window_samples,
            hop_samples=step.chunk_samples,
        ),
        decision=Decision(keywords=words, threshold=1.0, smoothing_windows=3),
        provenance={},
        measured={},
        formats=("onnx", "tflite"),
    )
    return folder


if __name__ == "__main__":
    main()
