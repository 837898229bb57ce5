"""The Pi's installer, on this machine: a spotter that runs from what it put there."""

import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from bare_environment import install_or_skip

DEMO = Path(__file__).parents[2] / "demos" / "raspberry_pi"

pytestmark = pytest.mark.network


def install(*words: object, prefix: Path, units: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    places = {"PREFIX": str(prefix), "UNITS": str(units), "NO_START": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        [str(DEMO / "install.sh"), *map(str, words)],
        capture_output=True,
        text=True,
        env={**environment, **places, "PATH": path},
    )


def test_one_command_installs_a_spotter_that_runs(
    tmp_path: Path, wheel: Path, exported: Path
) -> None:
    prefix, units = tmp_path / "otolite", tmp_path / "units"
    done = install(wheel, exported, prefix=prefix, units=units)
    install_or_skip(done)
    unit = (units / "otolite-spotter.service").read_text(encoding="utf-8")
    assert "@" not in unit.split("[Unit]")[1]
    (started,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    *command, options = started.removeprefix("ExecStart=").split()
    assert options == "$OPTIONS"

    with wave.open(str(tmp_path / "noise.wav"), "wb") as recording:
        recording.setparams((1, 2, 16_000, 0, "NONE", ""))
        noise = np.random.default_rng(0).integers(-9_000, 9_000, 32_000).astype("<i2")
        recording.writeframes(noise.tobytes())
    heard = subprocess.run(
        [*command, "--wav", str(tmp_path / "noise.wav")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert heard.returncode == 0, heard.stderr
    assert heard.stderr.startswith("listening for ")

    # A bundle that fails here leaves the one that runs.
    damaged = tmp_path / "damaged"
    shutil.copytree(exported, damaged)
    graph = bytearray((damaged / "model.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (damaged / "model.onnx").write_bytes(graph)
    refused = install(wheel, damaged, prefix=prefix, units=units)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("error: the bundle does not run on this")
    kept = (prefix / "keywords.bundle" / "model.onnx").read_bytes()
    assert kept == (exported / "model.onnx").read_bytes()


def test_what_is_missing_is_told_before_anything_is_written(tmp_path: Path) -> None:
    prefix, units = tmp_path / "otolite", tmp_path / "units"
    for words, code, message in (
        ((), 2, "usage: sudo ./install.sh WHEEL BUNDLE"),
        (("no.whl", tmp_path), 1, "there is no wheel no.whl"),
        ((DEMO / "README.md", tmp_path), 1, "is no bundle's folder"),
    ):
        done = install(*words, prefix=prefix, units=units)
        assert done.returncode == code
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert message in line
    assert not prefix.exists()
