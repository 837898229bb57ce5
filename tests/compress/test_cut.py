"""`compress cut`: which subnet is meant, and that what comes of it is an ordinary encoder."""

import json

import pytest
import torch
from transformers import AutoModel

from compress.cost.params import params
from compress.named_subnets import NAMED, find_subnet
from compress.spaces import get_space
from compress.subnet import Subnet, SubnetError
from compress.supernet import Supernet, save_supernet
from train.models.checkpoints import digest
from train.models.wav2vec2 import load_encoder, normalize_waveform

SPACE = get_space("otolite-tiny")
UNIFORM = Subnet(space="otolite-tiny", embed_dim=96, num_heads=(3,) * 5, ffn_dim=(288,) * 5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with a supernet of random weights as its model."""
    torch.manual_seed(0)
    supernet = Supernet(SPACE, target_dim=24).eval()
    folder = tmp_path_factory.mktemp("run")
    save_supernet(folder / "model", supernet, provenance={"teacher": "digest"})
    return supernet, folder


def test_the_authors_defaults_have_the_published_sizes():
    assert params(get_space("lighthubert-base"), NAMED["a_base"]) == 66_897_664
    assert params(get_space("lighthubert-small"), NAMED["a_small"]) == 26_879_744


def test_a_subnet_is_found_by_word_by_text_and_in_a_file(tmp_path):
    small = get_space("lighthubert-small")
    assert find_subnet("largest", small) == small.largest()
    assert find_subnet("smallest", small) == small.smallest()
    assert find_subnet("a_small", small).embed_dim == 384
    text = small.smallest().to_json()
    assert find_subnet(f"  {text}", small) == small.smallest()
    (tmp_path / "winner.json").write_text(text + "\n")
    assert find_subnet(str(tmp_path / "winner.json"), small) == small.smallest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a_smal", "did you mean 'a_small'"),
        ("missing.json", "neither a file, nor JSON, nor the name"),
        ("a_base", "'lighthubert-base', not 'lighthubert-small'"),
        ("{", "a subnet must be JSON"),
        ('{"space": "lighthubert-small"}', "add embed_dim, num_heads, ffn_dim"),
        (UNIFORM.to_json(), "not 'lighthubert-small'"),
    ],
)
def test_what_is_no_subnet_of_the_space_is_told(text, said):
    with pytest.raises(SubnetError, match=said):
        find_subnet(text, get_space("lighthubert-small"))


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SubnetError, match="is no text"):
        find_subnet(str(tmp_path / "model.pt"), SPACE)


def test_what_is_cut_gives_the_supernets_states_and_says_where_it_comes_from(run, call, tmp_path):
    supernet, folder = run
    subnet = SPACE.smallest()
    out = tmp_path / "cut"
    code, told, err = call("cut", folder, "smallest", "--out", out, "--json")
    assert code == 0, err
    rows = json.loads(told)
    assert Subnet.from_json(json.dumps(rows["subnet"])) == subnet
    encoder = load_encoder(out).eval()
    assert rows["params"] == sum(weight.numel() for weight in encoder.parameters())
    waveform = torch.randn(1, 4_000)
    with torch.inference_mode():
        expected, actual = supernet(subnet, waveform), encoder(waveform)
    assert len(actual.hidden_states) == subnet.depth + 1
    for sliced, dense in zip(expected.hidden_states, actual.hidden_states, strict=True):
        assert torch.equal(sliced, dense)
    assert json.loads((out / "config.json").read_text())["provenance"] == {
        "subnet": json.loads(subnet.to_json()),
        "supernet": digest(folder / "model"),
        "supernet_from": {"teacher": "digest"},
    }


def test_a_uniform_cut_goes_on_to_transformers(run, call, tmp_path):
    supernet, folder = run
    # transformers takes heads that add up to the encoder's width, and the same in each layer
    assert call("cut", folder, UNIFORM.to_json(), "--out", tmp_path / "cut")[0] == 0
    code, _, err = call("convert", tmp_path / "cut", "--to", "huggingface",
                        "--out", tmp_path / "hf")  # fmt: skip
    assert code == 0, err
    theirs = AutoModel.from_pretrained(tmp_path / "hf").eval()
    waveform = torch.randn(1, 4_000)
    with torch.inference_mode():
        expected = theirs(normalize_waveform(waveform), output_hidden_states=True).hidden_states
        actual = supernet(UNIFORM, waveform).hidden_states
    for ours, reference in zip(actual, expected, strict=True):
        assert torch.allclose(ours, reference, atol=1e-5, rtol=1e-5)


def test_a_cut_can_be_fine_tuned(run, call, corpus, tmp_path):
    assert call("cut", run[1], "smallest", "--out", tmp_path / "cut")[0] == 0
    words = ("finetune", "keywords-tiny", "--model", tmp_path / "cut", "--data", corpus)
    code, told, err = call(*words, "--out", tmp_path / "keywords", "--set",
                           "min_clips_per_label=1", "--dry-run", "--json")  # fmt: skip
    assert code == 0, err
    assert json.loads(told)["model_params"] == params(SPACE, SPACE.smallest()) - 64


def test_a_dry_run_writes_nothing_and_says_the_same(run, call, tmp_path):
    words = ("cut", run[1] / "model", "largest", "--out", tmp_path / "cut", "--json")
    code, dry, err = call(*words, "--dry-run")
    assert code == 0, err
    assert list(tmp_path.iterdir()) == []
    _, real, _ = call(*words)
    assert {**json.loads(dry), "checkpoint": str(tmp_path / "cut")} == json.loads(real)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_bad_input_gives_a_line_and_leaves_nothing(dry, run, call, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for supernet, subnet, out, said in (
        ("runs/absent", "smallest", "cut", "neither a folder nor the name of a supernet"),
        ("lighthubert-smal", "smallest", "cut", "did you mean 'lighthubert-small'"),
        (tmp_path / "mine", "smallest", "cut", "is not a checkpoint"),
        (run[1], "a_small", "cut", "'lighthubert-small', not 'otolite-tiny'"),
        (run[1], "smallest", "mine", "choose another"),
        (run[1], "smallest", run[1] / "model", "choose another"),
    ):
        code, told, err = call("cut", supernet, subnet, "--out", tmp_path / out, *dry)
        assert (code, told) == (1, "")
        assert said in err
        assert len(err.strip().splitlines()) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (run[1] / "model" / "config.json").is_file()
