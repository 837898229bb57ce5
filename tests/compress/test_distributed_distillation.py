"""Laws of a distillation in several processes: the same subnets, gradients and end as in one.

Two processes on one machine, over gloo, without a GPU; distilling.py is what they run.
"""

import json
import sys

import pytest
import torch
from launching import ROOT, TORCHRUN, assert_close, finished, start

from compress.distill.sampling import get_sampling, sampling_names
from compress.distill.stages import DistillRecipe, distill
from compress.folders import recipe_folder
from compress.spaces import get_space
from compress.supernet import load_supernet
from train.models.wav2vec2 import Wav2Vec2Encoder, save_encoder
from train.recipe import load_recipe
from train.seeding import Draws, seeded

TASKS = {
    **{name: {"sampling": name} for name in sampling_names()},
    "largest": {"sampling": None},
    "uniform_in_passes": {"sampling": "uniform", "device_seconds": 1.2},
    "uniform_dropping": {"sampling": "uniform", "layerdrop": 0.4},
}


def trained(command, folder):
    """What distilling.py makes of the tasks, by name."""
    (folder / "tasks.json").write_text(json.dumps(TASKS))
    script = str(ROOT / "tests" / "compress" / "distilling.py")
    finished(start([*command, script, str(folder / "tasks.json"), str(folder)]))
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in TASKS}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return trained([sys.executable], tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    return trained(TORCHRUN, tmp_path_factory.mktemp("together"))


@pytest.mark.parametrize("name", TASKS)
def test_two_processes_have_the_gradients_of_one_and_end_where_it_does(name, alone, together):
    """Three updates with clipping; 1e-6 is float32's rounding."""
    one, two = alone[name], together[name]
    assert_close(one["gradients"], two["gradients"], 1e-6)
    assert_close(one["weights"], two["weights"], 1e-6)
    assert one["losses"] == pytest.approx(two["losses"], rel=1e-5)


def test_passes_have_the_gradients_of_one_pass(alone, together):
    for results in (alone, together):
        passes = results["uniform_in_passes"]
        assert_close(alone["uniform"]["gradients"], passes["gradients"], 1e-6)
        assert_close(alone["uniform"]["weights"], passes["weights"], 1e-6)


def test_layers_that_a_subnet_lacks_have_no_gradient_in_any_process(alone, together):
    from distilling import SEED, space

    (subnet,) = get_sampling("uniform").draw(space(0.0), Draws(SEED, 0).update(), num_random=1)
    assert subnet.depth < 3
    kept = {str(layer) for layer in space(0.0).kept_layers(subnet.depth)}
    for results in (alone, together):
        names = [name.split(".") for name in results["uniform"]["gradients"]]
        assert {parts[3] for parts in names if parts[2] == "layers"} == kept


SETTINGS = [
    "top_layers=2",
    "sampling=by_size",
    "stage1_updates=2",
    "stage2_updates=3",
    "batch.seconds=4",
    "batch.crop_seconds=0.6",
    "optimizer.eps=1e-3",  # without it rounding where the gradient is nothing makes whole steps
    "log.log_every=1",
]


def test_the_command_line_under_torchrun_speaks_once_and_ends_where_one_process_does(
    corpus, tmp_path
):
    config = get_space("otolite-tiny").supernet
    with seeded(5):
        encoder = Wav2Vec2Encoder(config)
    save_encoder(tmp_path / "teacher", config, encoder.state_dict(), provenance={})
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    command = ["-m", "compress", "distill", "lighthubert-tiny", "--data", str(corpus), *settings]
    command += ["--teacher", str(tmp_path / "teacher"), "--out", str(tmp_path / "two")]
    told, errors = finished(start([*TORCHRUN, *command]))
    assert told == f"supernet  {tmp_path / 'two' / 'model'}\n"
    assert errors.count("stage 1:") == errors.count("stage 2:") == 1
    assert not list((tmp_path / "two").rglob("state"))
    recipe = load_recipe("lighthubert-tiny", DistillRecipe, recipe_folder("compress"), SETTINGS)
    distill(recipe, tmp_path / "teacher", corpus, tmp_path / "one", resume=False)
    one, two = (load_supernet(tmp_path / run / "model").state_dict() for run in ("one", "two"))
    assert_close(one, two, 1e-6)
