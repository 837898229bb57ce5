"""`compress import` and `compress convert`, called as a user calls them."""

import argparse
import json

import pytest
import torch
from transformers import HubertConfig, HubertModel

from train.models.wav2vec2 import load_encoder

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture
def theirs(tmp_path, capsys):
    torch.manual_seed(0)
    model = HubertModel(HubertConfig(**SIZES)).eval()
    model.save_pretrained(tmp_path / "theirs")
    capsys.readouterr()
    return model, tmp_path / "theirs"


def test_there_and_back_by_the_two_verbs(theirs, call, tmp_path):
    model, folder = theirs
    ours, back = tmp_path / "ours", tmp_path / "back"
    code, out, err = call("import", folder, "--out", ours, "--licence", "Apache-2.0", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["layout"] == "huggingface"
    assert told["params"] == {"encoder": sum(p.numel() for p in model.parameters()), "objective": 0}
    assert told["sizes"] == {
        "num_layers": 2, "embed_dim": 16, "num_heads": 2, "ffn_dim": 24, "channels": 8,
    }  # fmt: skip
    assert told["settings"]["pre_norm"] is False
    assert told["assumed"] == {"normalize_waveform": False, "feature_grad_mult": 0.1}
    assert told["dropped"] == {}
    provenance = json.loads((ours / "config.json").read_text())["provenance"]
    assert provenance["licence"] == "Apache-2.0"
    assert provenance["imported_from"] == "theirs"
    code, out, err = call("convert", ours, "--to", "huggingface", "--out", back, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["class"] == "HubertModel"
    again = HubertModel.from_pretrained(back)
    state = model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in again.state_dict().items())
    preprocessor = json.loads((back / "preprocessor_config.json").read_text())
    assert preprocessor["sampling_rate"] == 16_000


def test_people_read_what_was_taken_in_and_what_was_assumed(theirs, call, tmp_path):
    code, out, _ = call("import", theirs[1], "--out", tmp_path / "ours")
    assert code == 0
    assert "huggingface" in out
    assert "feature grad mult" in out
    assert "not stated" in out


def test_a_dry_run_writes_nothing_and_says_the_same(theirs, call, tmp_path):
    ours = tmp_path / "ours"
    code, dry, _ = call("import", theirs[1], "--out", ours, "--dry-run", "--json")
    assert code == 0
    assert not ours.exists()
    _, real, _ = call("import", theirs[1], "--out", ours, "--json")
    assert {**json.loads(dry), "checkpoint": str(ours)} == json.loads(real)
    code, dry, _ = call("convert", ours, "--to", "huggingface", "--out", tmp_path / "b",
                        "--dry-run", "--json")  # fmt: skip
    assert code == 0
    assert json.loads(dry)["model_type"] == "hubert"
    assert not (tmp_path / "b").exists()


def test_a_setting_given_wins(theirs, call, tmp_path):
    ours = tmp_path / "ours"
    code, _, err = call("import", theirs[1], "--out", ours, "--set", "normalize_waveform=true",
                        "--set", "layerdrop=0.0")  # fmt: skip
    assert code == 0, err
    assert load_encoder(ours).config.normalize_waveform is True
    assert load_encoder(ours).config.layerdrop == 0.0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["missing.pt"], 1, "there is no file or folder"),
        (["theirs", "--layout", "hugingface"], 1, "did you mean 'huggingface'"),
        (["theirs", "--layout", "fairseq"], 1, "is unexpected"),
        (["theirs", "--set", "pre_norm"], 2, "--set takes key=value"),
        (["theirs", "--set", "pre_nrm=true"], 1, "did you mean 'pre_norm'"),
        (["namespace.pt"], 1, "argparse.Namespace"),
        (["torn.pt"], 1, "may be damaged"),
        (["strange.pt"], 1, "no layout known here"),
    ],
)
def test_bad_input_gives_a_line_and_leaves_nothing(words, code, said, theirs, call, tmp_path):
    torch.save({"model": {"a": torch.ones(1)}, "args": argparse.Namespace()},
               tmp_path / "namespace.pt")  # fmt: skip
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "strange.pt")
    torn = (tmp_path / "strange.pt").read_bytes()
    (tmp_path / "torn.pt").write_bytes(torn[: len(torn) // 2])
    before = sorted(tmp_path.rglob("*"))
    ended, out, err = call("import", tmp_path / words[0], *words[1:], "--out", tmp_path / "ours")
    assert (ended, out) == (code, "")
    assert said in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    if code == 1:
        assert len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_something_else_is_never_replaced(theirs, call, tmp_path):
    folder = theirs[1]
    for out in (folder, tmp_path):
        ended, _, err = call("import", folder, "--out", out)
        assert ended == 1
        assert "choose another" in err
    assert HubertModel.from_pretrained(folder).config.hidden_size == 16
    ours = tmp_path / "ours"
    assert call("import", folder, "--out", ours)[0] == 0
    for out in (ours, tmp_path, folder):
        ended, _, err = call("convert", ours, "--to", "huggingface", "--out", out)
        assert ended == 1
        assert "choose another" in err
    back = tmp_path / "back"
    for _ in range(2):
        assert call("convert", ours, "--to", "huggingface", "--out", back)[0] == 0


def test_a_toolkit_or_class_that_is_unknown_is_a_fault_in_a_line(theirs, call, tmp_path):
    ours = tmp_path / "ours"
    call("import", theirs[1], "--out", ours)
    out = tmp_path / "out"
    ended, _, err = call("convert", ours, "--to", "onnx", "--out", out)
    assert ended == 2
    assert "huggingface" in err
    ended, _, err = call("convert", ours, "--to", "huggingface", "--out", out,
                         "--model-type", "huberd")  # fmt: skip
    assert ended == 1
    assert "did you mean 'hubert'" in err
    ended, _, err = call("convert", theirs[1], "--to", "huggingface", "--out", out)
    assert ended == 1
    assert "not of 'wav2vec2'" in err
    assert not out.exists()
