"""Laws of several processes: they compute what one does, whatever is sharded, dropped or resumed.

Two processes on one machine, over gloo, without a GPU; processes.py is what they run.
"""

import json
import shutil
import sys

import pytest
import torch
from launching import ROOT, TORCHRUN, assert_close, finished, start

from train.pretrain import objective_names

OBJECTIVES = objective_names()
FSDP = {"strategy": "fsdp"}


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
