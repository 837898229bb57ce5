"""LightHuBERT's files become supernets: what is read, what is refused, what is written down."""

import hashlib
import json

import foreign_names as names
import pytest
import torch
from tiny_lighthubert import LAST_HEAD, SHAPES, SPACE, write_file

from compress import CompressError, spaces
from compress.importing import import_supernet
from compress.supernet import load_supernet, materialize
from train.errors import LayoutError
from train.models import importing
from train.models.foreign_files import ForeignFile
from train.models.importing import recognize
from train.models.wav2vec2 import load_encoder


@pytest.fixture(autouse=True)
def tiny_space(monkeypatch):
    monkeypatch.setitem(spaces._SPACES, "tiny", SPACE)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lighthubert_tiny.pt"
    return path, write_file(path)


def test_a_file_becomes_a_supernet_whose_tensors_are_the_files(file, call, tmp_path):
    path, tensors = file
    out = tmp_path / "ours"
    code, told, err = call("import", path, "--space", "tiny", "--out", out, "--licence", "MIT",
                           "--json")  # fmt: skip
    assert code == 0, err
    rows = json.loads(told)
    assert rows["family"] == "supernet"
    assert (rows["space"], rows["trained_as"]) == ("tiny", "supernet-tiny")
    assert rows["subnets"] == SPACE.size()
    assert rows["params"]["head"] == 12 * 8
    assert list(rows["dropped"].values()) == ["3 tensors from label_embs_concat on"]
    supernet = load_supernet(out)
    assert supernet.space == SPACE
    assert torch.equal(supernet.head.weight, tensors[LAST_HEAD])
    layer = supernet.encoder.layers[2]
    assert torch.equal(layer.ffn.up.weight, tensors["encoder.layers.2.fc1.weight"])
    assert torch.equal(
        layer.attention.out_proj.bias, tensors["encoder.layers.2.self_attn.out_proj.bias"]
    )
    provenance = json.loads((out / "config.json").read_text())["provenance"]
    assert provenance["imported_from"] == "lighthubert_tiny.pt"
    assert provenance["sha256"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert provenance["trained_as"] == "supernet-tiny"
    assert provenance["licence"] == "MIT"
    assert "teacher" not in provenance


def test_the_full_net_comes_as_an_encoder_where_it_is_asked_for(file, call, tmp_path):
    path, tensors = file
    out = tmp_path / "ours"
    code, told, err = call("import", path, "--as-encoder", "--out", out, "--json")
    assert code == 0, err
    assert json.loads(told)["family"] == "wav2vec2"
    encoder = load_encoder(out)
    assert torch.equal(encoder.feature_projection.weight, tensors["post_extract_proj.weight"])
    largest = materialize(
        import_supernet(recognize(path), space="tiny").supernet.eval(), SPACE.largest()
    )
    waveform = torch.randn(1, 90)
    with torch.inference_mode():
        assert torch.allclose(
            encoder.eval()(waveform).output, largest(waveform).output, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    ("told", "asked", "space"),
    [
        ({"pruner_supernet": "conf/Supernet-Small.yaml"}, None, "lighthubert-small"),
        ({"pruner_supernet": "Supernet-Base.yaml"}, None, "lighthubert-base"),
        ({"_name": "student_hubert", "pruner_supernet": None}, None, "lighthubert-base"),
        ({"_name": "student_hubert"}, "lighthubert-small", "lighthubert-small"),
        ({"pruner_supernet": None}, "lighthubert-small", "lighthubert-small"),
        ({"pruner_supernet": ""}, "lighthubert-base", "lighthubert-base"),
    ],
)
def test_a_released_set_of_names_is_read_in_the_space_that_it_was_trained_in(
    told, asked, space, monkeypatch, tmp_path
):
    """At full size, in no memory."""
    sizes = names.Sizes(layered=True)
    shapes = names.fairseq(sizes) | names.hubert_heads(sizes)
    shapes |= {"layer_pred_heads.11.weight": (768, 768)}
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    model = {"_name": "hubert_pruner", **told}
    found = ForeignFile(tensors, {"model": model}, ())
    monkeypatch.setattr(importing, "read_foreign", lambda path: found)
    read = import_supernet(recognize(tmp_path / "file.pt"), space=asked)
    assert read.supernet.space.name == space
    stored = sum(parameter.numel() for parameter in read.supernet.parameters())
    assert stored == 94_967_680  # as the leaderboard lists it
    assert set(read.imported.dropped.values()) == {"3 tensors from label_embs_concat on"}


KEYS = sorted(set(SHAPES) - {"label_embs_concat", "final_proj.weight", "final_proj.bias"})


@pytest.mark.parametrize("key", KEYS)
def test_each_missing_or_misshapen_tensor_is_named(key, tmp_path):
    whole = names.filled(SHAPES)
    path = tmp_path / "file.pt"
    write_file(path, tensors={name: tensor for name, tensor in whole.items() if name != key})
    with pytest.raises((LayoutError, CompressError), match="is missing") as fault:
        import_supernet(recognize(path), space="tiny")
    bare = key.replace("weight_g", "").replace("weight_v", "")  # torch has two names for each
    assert bare in str(fault.value)
    write_file(path, tensors=whole | {key: torch.ones(5, *whole[key].shape)})
    with pytest.raises(LayoutError, match="has the shape") as fault:
        import_supernet(recognize(path), space="tiny")
    assert key in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("mystery", "mystery is unexpected"),
        ("encoder.layers.3.fc1.weight", "encoder.layers.3.fc1.weight is unexpected"),
        ("layer_pred_heads.0.weight", "layer_pred_heads.0.weight is unexpected"),
        ("layer_pred_heads.2.bias", "layer_pred_heads.2.bias is unexpected"),
    ],
)
def test_an_extra_tensor_is_named(extra, said, call, tmp_path):
    path = tmp_path / "file.pt"
    write_file(path, tensors=names.filled(SHAPES | {extra: (12, 8)}))
    code, out, err = call("import", path, "--space", "tiny", "--out", tmp_path / "ours")
    assert (code, out) == (1, "")
    assert said in err
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("model", "words", "code", "said"),
    [
        ({}, [], 1, "was trained in 'supernet-tiny', which is no space here; give it by --space"),
        ({"pruner_supernet": None}, [], 1, "does not say in which space it was trained"),
        ({"pruner_supernet": "Supernet-Small.yaml"}, ["--space", "tiny"], 1,
         "subnets of 'tiny' were not all trained; leave out --space"),
        ({}, ["--space", "tinny"], 1, "did you mean 'tiny'"),
        ({}, ["--space", "lighthubert-base"], 1, "has the shape (6, 1, 3) where (512, 1, 10)"),
        ({}, ["--space", "tiny", "--as-encoder"], 2, "leave it out with --as-encoder"),
        ({"layer_norm_first": True}, ["--space", "tiny"], 1, "pre_norm True where False is needed"),
        ({"encoder_attention_heads": 4}, ["--space", "tiny"], 1, "where (2, 2, 2) is needed"),
        ({"conv_feature_layers": "[(6, 3, 3), (6, 2, 2)]"}, ["--space", "tiny"], 1,
         "its settings say conv_layers"),
        ({"activation_fn": "relu"}, ["--space", "tiny"], 1, "activation_fn 'relu'"),
    ],
)  # fmt: skip
def test_what_contradicts_a_space_is_a_fault_in_a_line(model, words, code, said, call, tmp_path):
    path = tmp_path / "file.pt"
    write_file(path, **model)
    ended, out, err = call("import", path, *words, "--out", tmp_path / "ours")
    assert (ended, out) == (code, "")
    assert said in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert not (tmp_path / "ours").exists()


def test_a_silent_file_is_read_as_its_space_says(tmp_path):
    path = tmp_path / "file.pt"
    write_file(path, encoder_attention_heads=None, conv_feature_layers=None)
    read = import_supernet(recognize(path), space="tiny")
    assert read.imported.config.num_heads == (2, 2, 2)
    assert read.imported.config.conv_layers == SPACE.supernet.conv_layers
    assert read.imported.assumed["normalize_waveform"] is True


def test_another_layout_holds_no_supernet(call, tmp_path):
    path = tmp_path / "hubert.pt"
    torch.save({"model": names.filled(names.TINIES["fairseq hubert"])}, path)
    code, _, err = call("import", path, "--space", "tiny", "--out", tmp_path / "ours")
    assert code == 1
    assert "holds no supernet; leave out --space" in err


def test_a_dry_run_says_the_same_and_writes_nothing(file, call, tmp_path):
    out = tmp_path / "ours"
    words = ("import", file[0], "--space", "tiny", "--out", out, "--json")
    code, dry, _ = call(*words, "--dry-run")
    assert code == 0
    assert not out.exists()
    _, real, _ = call(*words)
    assert {**json.loads(dry), "checkpoint": str(out)} == json.loads(real)


def test_the_source_and_other_folders_are_never_replaced(file, call, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "other"):
        code, _, err = call("import", file[0], "--space", "tiny", "--out", out)
        assert code == 1
        assert "choose another" in err
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"
