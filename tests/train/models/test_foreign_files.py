"""Files of other toolkits: what is read of them, what is refused, and what is written down."""

import argparse
import json
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from foreign_names import GIVEN, TINIES, filled
from safetensors.torch import save_file

from train.errors import LayoutError, TrainError
from train.models.checkpoints import load_objective
from train.models.foreign_files import read_foreign
from train.models.importing import import_checkpoint, layout_names, save_imported
from train.models.wav2vec2 import load_encoder


def test_a_checkpoint_of_ours_keeps_encoder_heads_and_provenance(tmp_path):
    tensors = filled(TINIES["fairseq wav2vec2"])
    torch.save({"model": tensors, "cfg": {"model": {"dropout": 0.0}}}, tmp_path / "theirs.pt")
    imported = import_checkpoint(tmp_path / "theirs.pt", **GIVEN)
    out = tmp_path / "ours"
    save_imported(imported, out, source=tmp_path / "theirs.pt", licence="MIT")
    encoder = load_encoder(out)
    assert torch.equal(encoder.feature_projection.weight, tensors["post_extract_proj.weight"])
    name, heads = load_objective(out)
    assert name == "wav2vec2"
    assert torch.equal(heads["quantizer.codevectors"], tensors["quantizer.vars"])
    provenance = json.loads((out / "config.json").read_text())["provenance"]
    assert provenance["imported_from"] == "theirs.pt"
    assert provenance["licence"] == "MIT"
    assert provenance["layout"] == "fairseq"
    assert len(provenance["sha256"]["theirs.pt"]) == 64
    assert "pre_norm" in provenance["assumed"]
    (out / "objective.safetensors").unlink()
    with pytest.raises(TrainError, match="damaged"):
        load_objective(out)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_precisions_become_float32_and_that_is_said(kind, tmp_path):
    tensors = filled(TINIES["torchaudio"])
    torch.save(
        {key: value.to(getattr(torch, kind)) for key, value in tensors.items()},
        tmp_path / "theirs.pt",
    )
    imported = import_checkpoint(tmp_path / "theirs.pt", **GIVEN)
    assert imported.precision == f"{kind} stored as float32"
    assert {tensor.dtype for tensor in imported.state.values()} == {torch.float32}


def test_tensors_that_share_memory_are_parted(tmp_path):
    tensors = filled(TINIES["fairseq hubert"])
    tensors["encoder.layers.0.fc2.bias"] = tensors["encoder.layers.0.self_attn.q_proj.bias"]
    pool = torch.randn(100)
    tensors["encoder.layers.1.fc2.bias"] = pool[:8]
    tensors["encoder.layers.1.fc1.bias"] = pool[4:16]
    torch.save(tensors, tmp_path / "theirs.pt")
    imported = import_checkpoint(tmp_path / "theirs.pt", **GIVEN)
    save_imported(imported, tmp_path / "ours", source=tmp_path / "theirs.pt", licence="none")
    state = load_encoder(tmp_path / "ours").state_dict()
    assert torch.equal(state["layers.1.ffn.up.bias"], pool[4:16])
    assert torch.equal(state["layers.0.ffn.down.bias"], tensors["encoder.layers.0.fc2.bias"])


def test_whole_numbers_where_weights_should_be_are_refused(tmp_path):
    tensors = filled(TINIES["fairseq hubert"])
    tensors["layer_norm.weight"] = torch.ones(6, dtype=torch.int64)
    torch.save(tensors, tmp_path / "theirs.pt")
    with pytest.raises(LayoutError, match=r"layer_norm\.weight holds int64"):
        import_checkpoint(tmp_path / "theirs.pt", **GIVEN)
    torch.save(filled(TINIES["fairseq hubert"]) | {"mask_emb": 3}, tmp_path / "theirs.pt")
    with pytest.raises(LayoutError, match="mask_emb holds a int"):
        import_checkpoint(tmp_path / "theirs.pt", **GIVEN)


def test_a_name_of_no_layout_gets_the_nearest_and_a_wrong_one_the_first_strange_tensor(tmp_path):
    torch.save(filled(TINIES["fairseq hubert"]), tmp_path / "theirs.pt")
    with pytest.raises(LayoutError, match="no layout 'fairsec': did you mean 'fairseq'"):
        import_checkpoint(tmp_path / "theirs.pt", layout="fairsec")
    with pytest.raises(LayoutError, match="layout torchaudio: mask_emb is unexpected"):
        import_checkpoint(tmp_path / "theirs.pt", layout="torchaudio")
    torch.save({"conv.weight": torch.ones(3)}, tmp_path / "strange.pt")
    with pytest.raises(LayoutError, match=r"of no layout known here .*conv\.weight"):
        import_checkpoint(tmp_path / "strange.pt")
    assert layout_names() == ["data2vec2", "fairseq", "huggingface", "lighthubert", "torchaudio"]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
@pytest.mark.parametrize("key", ["args", "cfg"])
def test_a_pickle_that_wants_more_than_tensors_is_refused_with_the_way_out(zipped, key, tmp_path):
    tensors = OrderedDict(filled(TINIES["fairseq hubert"]))
    path = tmp_path / "hubert_base.pt"
    loaded = {"model": tensors, key: argparse.Namespace(dropout=0.1)}
    torch.save(loaded, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(LayoutError) as fault:
        import_checkpoint(path)
    said = str(fault.value)
    assert "argparse.Namespace" in said
    assert "torch.save({'model': checkpoint['model']}" in said
    assert "\n" not in said
    torch.save({"model": loaded["model"]}, path, _use_new_zipfile_serialization=zipped)
    assert import_checkpoint(path, **GIVEN).layout == "fairseq"


def test_a_pickle_that_runs_code_runs_none(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"model": Bomb()}, tmp_path / "bad.pt")
    with pytest.raises(LayoutError, match="is not opened"):
        import_checkpoint(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".bin", ".ckpt"])
def test_a_damaged_file_is_a_fault_in_a_line(suffix, tmp_path):
    path = tmp_path / f"theirs{suffix}"
    tensors = filled(TINIES["fairseq hubert"])
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"garbage" * 10, whole[:100] + whole[200:]):
        path.write_bytes(damaged)
        with pytest.raises(LayoutError) as fault:
            import_checkpoint(path)
        assert str(path) in str(fault.value)
        assert "\n" not in str(fault.value)


def test_a_zip_of_something_else_is_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(LayoutError, match="cannot be read"):
        import_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_folder_of_shards_is_one_checkpoint(kind, tmp_path):
    tensors = filled(TINIES["huggingface"])
    keys, whole = sorted(tensors), {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}
    halves = {"one": keys[:20], "two": keys[20:]}
    for shard, half in halves.items():
        part = {key: tensors[key] for key in half}
        path = tmp_path / f"{shard}.{kind}"
        save_file(part, path) if kind == "safetensors" else torch.save(part, path)
    places = {key: f"{shard}.{kind}" for shard, half in halves.items() for key in half}
    index = tmp_path / f"{whole[kind]}.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "wav2vec2", "num_attention_heads": 2, "conv_stride": [2, 2]})
    )
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    imported = import_checkpoint(tmp_path)
    assert imported.config.normalize_waveform is True
    assert imported.state["norm.bias"].equal(tensors["wav2vec2.encoder.layer_norm.bias"])
    assert set(imported.digests) == {f"one.{kind}", f"two.{kind}"}
    (tmp_path / f"two.{kind}").unlink()
    with pytest.raises(LayoutError, match=rf"two\.{kind} is missing"):
        import_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../secret.bin"}}))
    with pytest.raises(LayoutError, match="no file beside it"):
        import_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "wavlm"}, "model_type 'wavlm'"),
        ({"model_type": "hubert", "hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"model_type": "hubert", "conv_pos_batch_norm": True}, "conv_pos_batch_norm True"),
        ({"model_type": "hubert", "num_hidden_layers": 3}, "num_layers 3, its tensors 2"),
    ],
)
def test_a_model_of_transformers_that_is_another_is_refused(config, said, tmp_path):
    save_file(filled(TINIES["huggingface"]), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(LayoutError, match=said):
            import_checkpoint(path, **GIVEN)


def test_paths_that_hold_no_foreign_checkpoint_are_refused(tmp_path):
    cases = {"missing.pt": "there is no file", "notes.txt": "ends in '.txt'"}
    (tmp_path / "notes.txt").write_text("hello")
    for name, said in cases.items():
        with pytest.raises(LayoutError, match=said):
            read_foreign(tmp_path / name)
    with pytest.raises(LayoutError, match="holds neither"):
        read_foreign(tmp_path)
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    torch.save({"model": {"a": 1}}, tmp_path / "numbers.pt")
    for name in ("list.pt", "numbers.pt"):
        with pytest.raises(LayoutError, match="holds no tensors"):
            read_foreign(tmp_path / name)
    (tmp_path / "config.json").write_text('{"family": "wav2vec2"}')
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(LayoutError, match="Otolite's already"):
        read_foreign(tmp_path)


def test_nothing_but_a_checkpoint_is_ever_replaced(tmp_path):
    torch.save(filled(TINIES["fairseq hubert"]), tmp_path / "theirs.pt")
    imported = import_checkpoint(tmp_path / "theirs.pt", **GIVEN)
    with pytest.raises(TrainError, match="no checkpoint to replace"):
        save_imported(imported, tmp_path, source=tmp_path / "theirs.pt", licence="none")
    out = tmp_path / "ours"
    for _ in range(2):
        save_imported(imported, out, source=tmp_path / "theirs.pt", licence="none")
    (tmp_path / "theirs.pt").rename(out / "theirs.pt")
    with pytest.raises(LayoutError, match="would be replaced"):
        save_imported(imported, out, source=out / "theirs.pt", licence="none")
    assert (out / "theirs.pt").is_file()
