"""What several packages' tests share: seeds, a cache, a corpus, and ways to stop a run."""

import csv
import gc
import json
import os
import random
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# Tests never time: a busy machine is no fault of the code's.
settings.register_profile("otolite", deadline=None)
settings.load_profile("otolite")

# Two test processes with two threads each would wait for one another; read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _seed(name: str) -> None:
    """Whoever draws without a generator draws by the name: alone as after any other tests."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: Any) -> None:
    _seed(fixturedef.argname)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    _seed(f"{item.path.name}::{item.name}")


LONGEST = (
    "tests/journeys",
    "tests/train/test_torchrun.py",
    "tests/contracts/test_streams_of_encoders.py",
    "tests/contracts/test_streams_of_bodies.py",
    "tests/train/test_distributed.py",
    "tests/compress/test_distributed_distillation.py",
    "tests/compress/test_building_blocks.py",
    "tests/compress/test_search.py",
    "tests/export/test_tflite.py",
    "tests/compress/test_measured.py",
    "tests/export/test_frontends.py",
    "tests/export/test_export.py",
    "tests/train/test_run.py",
    "tests/compress/test_feasible.py",
)
"""Begun first, the longest first: none is left for one process when the other is done."""


def _scope(nodeid: str) -> str:
    """What one process runs: a file, or all that goes by the one journey."""
    file = nodeid.partition("::")[0]
    return "tests/journeys" if file.startswith("tests/journeys/") else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {scope: place for place, scope in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(_scope(item.nodeid), len(LONGEST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of `--dist loadfile`, whose files are our scopes; of others, xdist's own."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    return Scheduling(config, log)


def pytest_collection_finish() -> None:
    """Garbage collectors, which exporters call by name, need not walk the libraries each time."""
    gc.collect()
    gc.freeze()


LABELS = ("_silence_", "no", "yes")
PARTITIONS = ("train",) * 4 + ("valid", "train", "test", "train")


class StoppedError(Exception):
    """What a test raises inside a run; no code of ours knows it."""


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTOLITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips of 0.4 to 1 s with a manifest: hiss, a low tone or a high one in hiss."""
    import soundfile

    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        label = LABELS[number % 3]
        num_samples = int(rng.integers(6_400, 16_001))
        time = np.arange(num_samples) / 16_000
        hz = {"_silence_": 0.0, "no": 300.0, "yes": 1500.0}[label] * rng.uniform(0.9, 1.1)
        signal = 0.4 * np.sin(2 * np.pi * hz * time) + rng.normal(0, 0.05, num_samples)
        name = f"{number:02d}.wav"
        soundfile.write(root / name, signal, 16_000)
        rows.append((name, label, f"speaker{number % 8}", PARTITIONS[number % 8]))
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label", "speaker", "split"), *rows])
    return root


@pytest.fixture
def stopping() -> Callable[..., Any]:
    """`with stopping(class, "forward", at=3):` the fourth call raises instead of running."""

    @contextmanager
    def stop(owner: Any, name: str, *, at: int, error: type[BaseException] = StoppedError) -> Any:
        original, calls = getattr(owner, name), []

        def counted(*args: Any, **kwargs: Any) -> Any:
            if len(calls) == at:
                raise error
            calls.append(None)
            return original(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, counted)
            try:
                yield
            except error:
                return
        pytest.fail(f"{name} was called {len(calls)} times and never stopped")

    return stop


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[Path, Path], None]:
    """The second run folder holds the first one's models, units, scores and log lines."""

    def compare(first: Path, second: Path) -> None:
        import torch
        from safetensors.torch import load_file

        def files(folder: Path) -> list[str]:
            # Clocks, and what shows them, tell two runs of one recipe apart.
            return sorted(
                str(path.relative_to(folder))
                for path in folder.rglob("*")
                if path.is_file()
                and path.name not in ("timing.jsonl", "report.html")
                and path.parent.name != "tensorboard"
            )

        names = files(first)
        assert names == files(second)
        assert any(name.endswith("model.safetensors") for name in names)
        for name in names:
            mine, other = first / name, second / name
            if name.endswith(".safetensors"):
                tensors, others = load_file(mine), load_file(other)
                assert tensors.keys() == others.keys()
                for key, tensor in tensors.items():
                    assert torch.equal(tensor, others[key]), f"{name}: {key}"
            elif name.endswith(".npz"):
                with np.load(mine) as arrays, np.load(other) as others:
                    assert all(np.array_equal(arrays[key], others[key]) for key in arrays)
            else:
                assert mine.read_text() == other.read_text(), name

    return compare


@pytest.fixture(scope="session")
def logged_steps() -> Callable[[Path], list[int]]:
    """Updates that have a line in a metrics.jsonl, in the order of the lines."""

    def read(path: Path) -> list[int]:
        return [json.loads(line)["step"] for line in path.read_text().splitlines()]

    return read


class Page(HTMLParser):
    """Tags, links and text of a page of ours, which is well-formed and needs nothing else."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="session")
def html_page() -> Callable[[Path], Page]:
    """Read a page: every tag is closed, and there is no script, link, import or address."""

    def read(path: Path) -> Page:
        text = path.read_text(encoding="utf-8")
        found = Page(text)
        assert text.startswith("<!doctype html>")
        assert found.open == []
        assert found.links == []
        assert "script" not in found.tags
        assert "url(" not in text
        assert "@import" not in text
        return found

    return read
