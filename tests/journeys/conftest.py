"""The command line as people call it, and one tiny run of the whole way for all tests here."""

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

UPDATES = 4
TARGET_PARAMS = 400_000
SMALL_BATCHES = (
    "batch.seconds=4.0",
    "batch.crop_seconds=1.0",
    "log.checkpoint_every=2",
    "log.log_every=1",
)
TEACHER = (
    *SMALL_BATCHES,
    f"rounds.0.updates={UPDATES}",
    f"rounds.1.updates={UPDATES}",
    "rounds.0.num_clusters=6",
    "rounds.1.num_clusters=6",
)
SUPERNET = (*SMALL_BATCHES, f"stage1_updates={UPDATES}", f"stage2_updates={UPDATES}")
KEYWORDS = (*SMALL_BATCHES, f"updates={UPDATES}", "min_clips_per_label=4")


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The line that says what is wrong; there is exactly one, and no traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert lines[0] == self.err.splitlines()[-1], self.err
        assert "Traceback" not in self.err, self.err
        return lines[0]


def sets(values: tuple[str, ...]) -> list[str]:
    """Values of a recipe as flags."""
    return [word for value in values for word in ("--set", value)]


def digest(folder: Path) -> str:
    """Changes with any name or byte below a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(f"{path.relative_to(folder)}\0{path.is_dir()}\0".encode())
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()


@pytest.fixture(scope="session")
def program() -> Callable[..., Answer]:
    """Call a command in a process of its own, as a terminal does."""

    def call(*words: object, module: str = "compress", cwd: Path | None = None) -> Answer:
        main = "from compress.cli import main; main()"
        start = ["-c", main] if module == "compress" else ["-m", module]
        done = subprocess.run(
            [sys.executable, *start, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=os.environ | {"COLUMNS": "200"},
            timeout=300,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Answer]]:
    """Call a command in this process, where torch is loaded already."""
    from compress.cli import main

    root = logging.getLogger()
    before = root.handlers[:]

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["compress", *map(str, words)])
        root.handlers[:] = []  # so that the command line logs to what is standard error now
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Answer(int(ended.value.code or 0), out, err)

    yield run
    root.handlers[:] = before


@dataclass
class Journey:
    """Where the whole way went, and what each verb printed."""

    corpus: Path
    root: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    calls: dict[str, list[object]] = field(default_factory=dict)

    @property
    def bundle(self) -> Path:
        return self.root / "keywords.bundle"

    def results(self, verb: str) -> dict[str, Any]:
        """The JSON that a verb printed."""
        found: dict[str, Any] = json.loads(self.answers[verb].out)
        return found


@pytest.fixture(scope="session")
def journey(
    corpus: Path, program: Callable[..., Answer], tmp_path_factory: pytest.TempPathFactory
) -> Journey:
    """README's way, verb by verb, with four updates where it has hundreds."""
    root = tmp_path_factory.mktemp("journey")
    made = Journey(corpus, root)
    data: list[object] = ["--data", corpus]
    made.calls = {
        "pretrain": ["hubert-tiny", *data, "--out", root / "teacher", *sets(TEACHER)],
        "distill": [
            *("lighthubert-tiny", "--teacher", root / "teacher"),
            *(*data, "--out", root / "supernet", *sets(SUPERNET)),
        ],
        "search": [
            *(root / "supernet", "--target-params", "400k", *data, "--out", root / "search"),
            *("--num-trials", 4, "--population", 2, "--num-clips", 3),
        ],
        "finetune": [
            *("keywords-tiny", "--model", root / "search"),
            *(*data, "--out", root / "keywords", *sets(KEYWORDS)),
        ],
        "export": [root / "keywords", "--out", made.bundle, "--licence", "made in a test"],
        "doctor": [made.bundle],
    }
    for verb, words in made.calls.items():
        answer = program(verb, *words, "--json")
        assert answer.code == 0, f"{verb}: {answer.err}"
        made.answers[verb] = answer
    return made


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of stereo at 8 kHz."""
    path = tmp_path_factory.mktemp("recording") / "stereo 8 kHz.wav"
    rng = np.random.default_rng(1)
    soundfile.write(path, rng.uniform(-0.3, 0.3, (24_000, 2)), 8_000, subtype="PCM_16")
    return path
