"""Start what runs as several processes, and compare what came of it.

Two processes on one machine, over gloo, without a GPU.
"""

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(command):
    """One thread a process."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finished(process):
    """Its output and errors, once it has ended well."""
    try:
        out, err = process.communicate(timeout=600)
    finally:
        process.terminate()  # torchrun passes it on
    assert process.returncode == 0, err
    return out, err


def assert_close(first, second, tolerance):
    """Equal up to a share of the largest value of all: many a gradient is 0 but for rounding."""
    assert first.keys() == second.keys()
    largest = max(float(tensor.abs().max()) for tensor in first.values())
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], rtol=0, atol=tolerance * largest), name
