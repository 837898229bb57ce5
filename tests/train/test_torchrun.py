"""`compress pretrain` under torchrun: one run that speaks once, and outlives a killed process."""

import json
import os
import signal
import subprocess
import time

import pytest
from launching import ROOT, TORCHRUN, assert_close, finished, start

from train.models.wav2vec2 import load_encoder
from train.pretrain import load_pretraining, pretrain

UPDATES = 40
"""Seconds of them are left when the second has been saved: a process can be killed meanwhile."""
SETTINGS = [
    f'rounds=[{{units="mfcc",num_clusters=4,updates={UPDATES}}}]',
    "encoder.conv_norm=layer",  # GroupNorm would count the padding, which shares change
    "encoder.embed_dim=16",
    "encoder.num_heads=[2,2]",
    "encoder.ffn_dim=[24,24]",
    "encoder.head_dim=8",
    "encoder.pos_conv_kernel=6",
    "encoder.pos_conv_groups=4",
    "optimizer.eps=1e-3",
    "batch.seconds=4",
    "batch.crop_seconds=0.6",
    "log.log_every=1",
    "log.checkpoint_every=2",
]


def kill_second(process):
    """SIGKILL the second of torchrun's processes."""
    command = ["ps", "-o", "pid=", "--ppid", str(process.pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(listed) == 2
    os.kill(int(listed[1]), signal.SIGKILL)


def pretraining(corpus, out, *more):
    """`compress pretrain` in two processes."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    command = ["-m", "compress", "pretrain", "hubert-tiny", "--data", str(corpus)]
    return start([*TORCHRUN, *command, *settings, "--out", str(out), *more])


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """A pretraining by two processes, its output and its errors."""
    out = tmp_path_factory.mktemp("torchrun") / "run"
    return (out, *finished(pretraining(corpus, out)))


def test_the_command_line_under_torchrun_speaks_once_and_leaves_one_run(whole):
    out, told, errors = whole
    assert told == f"teacher  {out / 'model'}\n"
    assert errors.count("round 1 of 1") == errors.count(f"update {UPDATES} of {UPDATES}") == 1
    steps = [json.loads(line)["step"] for line in (out / "round1" / "metrics.jsonl").open()]
    assert steps == list(range(UPDATES))
    assert not (out / "round1" / "state").exists()


def test_it_ends_where_one_process_does(whole, corpus, tmp_path):
    recipe = load_pretraining("hubert-tiny", ROOT / "train" / "recipes", SETTINGS)
    alone = load_encoder(pretrain(recipe, corpus, tmp_path / "run", resume=False))
    # Rounding of as many updates, each of which multiplies what came before.
    assert_close(alone.state_dict(), load_encoder(whole[0] / "model").state_dict(), 1e-4)


def test_one_that_is_killed_takes_the_others_along_and_a_resumed_run_ends_as_if_it_were_not(
    whole, corpus, tmp_path, assert_same_run
):
    out = tmp_path / "run"
    process = pretraining(corpus, out)
    state = out / "round1" / "state" / "last.ckpt"
    while not state.is_file() and process.poll() is None:
        time.sleep(0.01)
    kill_second(process)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(told) <= 1  # none where torchrun is faster
    assert all("--resume goes on" in line for line in told)
    assert state.is_file()
    assert not (out / "model").exists()
    finished(pretraining(corpus, out, "--resume"))
    for stray in out.rglob(".last.ckpt.*"):  # what a kill in the middle of saving leaves
        stray.unlink()
    assert_same_run(whole[0], out)


def test_a_fault_that_all_meet_is_told_once(corpus, tmp_path):
    process = pretraining(corpus, tmp_path / "run", "--set", "batch.seconds=0.6")
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 1
    assert not out
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "2 processes in 1 passes need 2" in told[0]
