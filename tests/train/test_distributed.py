"""Laws of several processes: they compute what one does, and stop, resume and write as one.

Two processes on one machine, over gloo, without a GPU; processes.py is what they run.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from train.models.wav2vec2 import load_encoder
from train.pretrain import load_pretraining, objective_names, pretrain

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
OBJECTIVES = objective_names()
FSDP = {"strategy": "fsdp"}


def start(command, **options):
    """One thread a process."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def finished(process):
    """Its output and errors, once it has ended well."""
    try:
        out, err = process.communicate(timeout=600)
    finally:
        process.terminate()  # torchrun passes it on
    assert process.returncode == 0, err
    return out, err


def kill_second(process):
    """SIGKILL the second of torchrun's processes."""
    command = ["ps", "-o", "pid=", "--ppid", str(process.pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(listed) == 2
    os.kill(int(listed[1]), signal.SIGKILL)


def trained(command, tasks, folder):
    """What processes.py makes of the tasks, by name."""
    (folder / "tasks.json").write_text(json.dumps(tasks))
    script = str(ROOT / "tests" / "train" / "processes.py")
    finished(start([*command, script, str(folder / "tasks.json"), str(folder)]))
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in tasks}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process; `begun` leaves a state for others to go on from."""
    folder = tmp_path_factory.mktemp("alone")
    tasks = {name: {"objective": name} for name in OBJECTIVES}
    for name in OBJECTIVES:
        tasks[f"{name}_whole"] = {"objective": name, "penalties": False}
        tasks[f"{name}_in_4"] = tasks[f"{name}_whole"] | {"device_seconds": 1.2}
        tasks[f"{name}_dropping"] = {"objective": name, "layerdrop": 0.4, "updates": 3}
    tasks["hubert_bf16"] = {"objective": "hubert", "devices": {"precision": "bf16"}, "updates": 3}
    tasks["begun"] = tasks["data2vec2_dropping"] | {"stop_at": 2, "unfinished": True}
    return trained([sys.executable], tasks, folder) | {"folder": folder / "begun"}


@pytest.fixture(scope="module")
def together(tmp_path_factory, alone):
    """Two processes; `begun` was begun by one."""
    folder = tmp_path_factory.mktemp("together")
    tasks = {name: {"objective": name} for name in OBJECTIVES}
    for name in OBJECTIVES:
        tasks[f"{name}_in_4"] = {"objective": name, "penalties": False, "device_seconds": 1.2}
        dropping = {"objective": name, "layerdrop": 0.4, "updates": 3}
        tasks[f"{name}_dropping"] = dropping
        tasks[f"{name}_sharded"] = dropping | {"devices": FSDP}
        asked = {"objective": name, "asked": True, "updates": 6, "log_every": 50}
        tasks[f"{name}_asked"] = asked
    tasks["hubert_in_4_sharded"] = tasks["hubert_in_4"] | {"devices": FSDP}
    tasks["hubert_bf16"] = {"objective": "hubert", "updates": 3}
    tasks["hubert_bf16"]["devices"] = FSDP | {"precision": "bf16"}
    tasks["data2vec2_resumed"] = tasks["data2vec2_sharded"] | {"stop_at": 2}
    shutil.copytree(alone["folder"], folder / "begun")
    tasks["begun"] = tasks["data2vec2_sharded"]
    return trained(TORCHRUN, tasks, folder)


def assert_close(first, second, tolerance):
    """Equal up to a share of the largest value of all: many a gradient is 0 but for rounding."""
    assert first.keys() == second.keys()
    largest = max(float(tensor.abs().max()) for tensor in first.values())
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], rtol=0, atol=tolerance * largest), name


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_have_the_gradients_of_one(name, alone, together):
    """Shares differ in recordings, padding and hidden frames; 1e-6 is float32's rounding."""
    assert_close(alone[name]["gradients"], together[name]["gradients"], 1e-6)
    assert alone[name]["metrics"][0]["loss"] == pytest.approx(
        together[name]["metrics"][0]["loss"], rel=1e-6
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_passes_have_the_gradients_of_one_pass(name, alone, together):
    """Four passes of one process, two of two.

    What is measured over a batch as a whole is measured over a pass: the feature penalty of HuBERT
    and wav2vec 2.0, and the diversity of wav2vec 2.0. They are off here; gradient accumulation
    changes them, in a run as in the papers' code.
    """
    one = alone[f"{name}_whole"]
    for other in (alone[f"{name}_in_4"], together[f"{name}_in_4"]):
        assert_close(one["gradients"], other["gradients"], 1e-6)
        losses = [result["metrics"][0]["loss"] for result in (one, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("how", ["dropping", "sharded"])
def test_two_processes_end_where_one_does_whatever_layers_are_dropped(name, how, alone, together):
    """Three updates with clipping, and a moving average's. Of `how`, the second is FSDP2."""
    one, other = alone[f"{name}_dropping"], together[f"{name}_{how}"]
    assert other["sharded"] == (how == "sharded")
    assert_close(one["weights"], other["weights"], 1e-6)
    for mine, theirs in zip(one["metrics"], other["metrics"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert mine["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-5)


def test_dropped_layers_learn_nothing_in_that_update(alone, together):
    for results, how in ((alone, "dropping"), (together, "dropping"), (together, "sharded")):
        gradients = results[f"hubert_{how}"]["gradients"]
        layers = {name.split(".")[2] for name in gradients if name.startswith("encoder.layers.")}
        assert layers == {"0", "1"}  # seed 7 drops the last one in the first update


@pytest.mark.parametrize("how", ["resumed", "begun"])
def test_a_sharded_run_goes_on_from_its_state_or_from_that_of_one_process(how, alone, together):
    name = "begun" if how == "begun" else "data2vec2_resumed"
    assert together[name]["sharded"]
    assert_close(alone["data2vec2_dropping"]["weights"], together[name]["weights"], 1e-6)
    assert [line["step"] for line in together[name]["metrics"]] == [0, 1, 2]


def test_passes_of_sharded_weights_have_the_gradients_of_one_pass(alone, together):
    sharded = together["hubert_in_4_sharded"]
    assert sharded["sharded"]
    assert_close(alone["hubert_whole"]["gradients"], sharded["gradients"], 1e-6)


@pytest.mark.parametrize("processes", ["alone", "together"])
def test_bfloat16_trains_almost_as_float32_does(processes, alone, together):
    """bfloat16 has 8 bits: losses agree to a few thousandths while the weights still do."""
    exact = alone["hubert"]
    rounded = (alone if processes == "alone" else together)["hubert_bf16"]
    assert rounded["metrics"][0]["loss"] == pytest.approx(exact["metrics"][0]["loss"], rel=2e-3)
    assert [line["step"] for line in rounded["metrics"]] == [0, 1, 2]
    assert all(line["loss"] < 8.0 for line in rounded["metrics"])  # NaN is not
    assert rounded["weights"].keys() == exact["weights"].keys()
    assert all(weight.dtype == torch.float32 for weight in rounded["weights"].values())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_between_two_lines_of_the_log_no_device_is_asked(name, together):
    """On a GPU, each question would wait for all that was queued.

    Left out are the first update, in which DDP sets itself up, the counters of the optimizer, which
    stay on the CPU, and the line that a run without a bar prints after each fifth of the updates.
    """
    places = together[f"{name}_asked"]["asked"]
    told = [place for place in places if "/watching.py" in place]
    assert len(told) == 5
    assert places == told


SETTINGS = [
    'rounds=[{units="mfcc",num_clusters=4,updates=100}]',
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
    assert errors.count("round 1 of 1") == errors.count("update 100 of 100") == 1
    steps = [json.loads(line)["step"] for line in (out / "round1" / "metrics.jsonl").open()]
    assert steps == list(range(100))
    assert not (out / "round1" / "state").exists()


def test_it_ends_where_one_process_does(whole, corpus, tmp_path):
    recipe = load_pretraining("hubert-tiny", ROOT / "train" / "recipes", SETTINGS)
    alone = load_encoder(pretrain(recipe, corpus, tmp_path / "run", resume=False))
    # Rounding of 100 updates, each of which multiplies what came before.
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
