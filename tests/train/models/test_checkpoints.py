"""A checkpoint is whole or not there, and says in one line why it cannot be read."""

import json
import resource
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file, save_file

from train.errors import TrainError
from train.models.checkpoints import load_checkpoint, load_config, save_checkpoint
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.models.wav2vec2 import load_encoder, save_encoder
from train.tasks.keywords import KeywordModel, PooledEncoder, load_keywords, save_keywords

STATE = {
    "weight": torch.arange(12, dtype=torch.float32).view(3, 4).T,  # not contiguous
    "count": torch.tensor(3),
    "half": torch.tensor([0.5], dtype=torch.bfloat16),
}


@contextmanager
def full_disk(most_bytes):
    """Writing a file past this size fails, as the disk would let it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_config_and_tensors_come_back(tmp_path):
    folder = tmp_path / "deep" / "model"
    save_checkpoint(folder, {"family": "toy", "sizes": [1, 2]}, STATE)
    config, state = load_checkpoint(folder, "toy")
    assert config == {"family": "toy", "sizes": [1, 2]} == load_config(folder, "toy")
    assert state.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_a_checkpoint_takes_the_place_of_an_older_one(tmp_path):
    for value in (1.0, 2.0):
        save_checkpoint(tmp_path / "model", {"family": "toy"}, {"a": torch.tensor(value)})
    assert float(load_checkpoint(tmp_path / "model", "toy")[1]["a"]) == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("old", [True, False])
def test_a_disk_that_fills_up_leaves_the_old_checkpoint_and_nothing_else(old, tmp_path):
    if old:
        save_checkpoint(tmp_path / "model", {"family": "toy"}, {"a": torch.tensor(1.0)})
    big = {"a": torch.zeros(100_000)}
    with full_disk(20_000), pytest.raises((OSError, TrainError)):
        save_checkpoint(tmp_path / "model", {"family": "toy"}, big)
    assert [path.name for path in tmp_path.iterdir()] == (["model"] if old else [])
    if old:
        assert float(load_checkpoint(tmp_path / "model", "toy")[1]["a"]) == 1.0


def test_a_config_that_is_no_json_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "model", {"family": "toy", "odd": object()}, STATE)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def toy(tmp_path):
    save_checkpoint(tmp_path / "model", {"family": "toy"}, STATE)
    return tmp_path / "model"


def test_another_family_is_refused(toy):
    with pytest.raises(TrainError, match="holds a checkpoint of 'toy', not of 'wav2vec2'"):
        load_encoder(toy)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing", "there is no such folder"), (".", r"it has no config\.json")],
)
def test_a_folder_without_a_config_is_no_checkpoint(name, reason, tmp_path):
    with pytest.raises(TrainError, match=f"is not a checkpoint: {reason}"):
        load_checkpoint(tmp_path / name, "toy")


@pytest.mark.parametrize("text", [b"", b'{"family": "to', b"\xff\xfe", b"[1]", b'"toy"', b"{}"])
def test_a_damaged_config_is_one_clear_error(text, toy):
    (toy / "config.json").write_bytes(text)
    with pytest.raises(TrainError, match=r"is damaged|holds a checkpoint of None"):
        load_checkpoint(toy, "toy")


@pytest.mark.parametrize("kept", [0, 4, 8, 40, -1])
def test_truncated_tensors_are_one_clear_error(kept, toy):
    path = toy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(TrainError, match="is damaged"):
        load_checkpoint(toy, "toy")


def test_missing_tensors_are_one_clear_error(toy):
    (toy / "model.safetensors").unlink()
    with pytest.raises(TrainError, match="is damaged"):
        load_checkpoint(toy, "toy")


@pytest.fixture(params=["encoder", "keywords", "baseline"])
def model_folder(request, make_encoder, tmp_path):
    """A saved model of each family, with what reads it."""
    folder = tmp_path / "model"
    if request.param == "encoder":
        encoder = make_encoder()
        save_encoder(folder, encoder.config, encoder.state_dict(), provenance={})
        return folder, load_encoder
    body = PooledEncoder(make_encoder()) if request.param == "keywords" else DsCnn(DsCnnConfig())
    save_keywords(folder, KeywordModel(body, ("no", "yes")))
    return folder, load_keywords


def test_a_model_comes_back_with_every_tensor(model_folder):
    folder, load = model_folder
    stored = load_file(folder / "model.safetensors")
    state = load(folder).state_dict()
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in stored.items())


def changed(folder, change):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(tensors) if tensors[name].ndim >= 2)
    change(tensors, name)
    save_file(tensors, folder / "model.safetensors")
    return name


def test_a_tensor_that_is_missing_is_named(model_folder):
    folder, load = model_folder
    name = changed(folder, lambda tensors, name: tensors.pop(name))
    with pytest.raises(TrainError, match="does not fit its config") as caught:
        load(folder)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tensor_of_another_shape_is_named(model_folder):
    folder, load = model_folder
    name = changed(folder, lambda tensors, name: tensors.update({name: tensors[name][1:].clone()}))
    with pytest.raises(TrainError, match="does not fit its config") as caught:
        load(folder)
    assert name in str(caught.value)


def test_a_tensor_too_many_is_named(model_folder):
    folder, load = model_folder
    changed(folder, lambda tensors, _: tensors.update({"stowaway": torch.zeros(2)}))
    with pytest.raises(TrainError, match="stowaway"):
        load(folder)


def test_a_config_without_its_sizes_is_one_clear_error(model_folder):
    folder, load = model_folder
    config = json.loads((folder / "config.json").read_text())
    for key in set(config) - {"family", "provenance"}:
        (folder / "config.json").write_text(
            json.dumps({name: value for name, value in config.items() if name != key})
        )
        with pytest.raises(TrainError, match=rf"config\.json lacks '{key}'"):
            load(folder)


def test_a_config_with_sizes_that_are_no_sizes_is_one_clear_error(model_folder):
    folder, load = model_folder
    config = json.loads((folder / "config.json").read_text())
    key = "encoder" if "encoder" in config else "sizes"
    config[key] = config[key] | {"no_such_size": 3}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TrainError, match="no_such_size"):
        load(folder)
